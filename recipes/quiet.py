"""Load Keras without its backend's start-up lines."""

from __future__ import annotations

import logging
import os
import sys
import tempfile


def quiet_backend() -> None:
    """Import Keras with the backend's start-up lines held back, shown if loading fails.

    Some of those lines come from before TensorFlow looks at ``TF_CPP_MIN_LOG_LEVEL``, so the
    error stream itself is set aside while Keras loads. A level that the user set is kept.

    TensorFlow's oneDNN kernels are switched on: on processors without AVX-512, as many of AMD's,
    they are off by default, and a training step of a 3D U-Net costs four times as much.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    if "keras" not in sys.modules:
        _import_aside()
    # Advice on graph retracing is for the authors of training loops, not for their users.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def _import_aside() -> None:
    with tempfile.TemporaryFile() as lines:
        own = os.dup(2)
        try:
            os.dup2(lines.fileno(), 2)
            import keras  # noqa: F401
        except Exception:
            lines.seek(0)
            os.write(own, lines.read())
            raise
        finally:
            os.dup2(own, 2)
            os.close(own)
