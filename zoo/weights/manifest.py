"""The manifest of a converted weight set: what it is, where it is from, and its digest.

A set is two files of one stem in ``RADZOO_HOME/weights``: ``<stem>.safetensors``, the arrays by
``<layer>/<index>``, and ``<stem>.json``, its manifest. A manifest is written in one way only, and
carries a digest of itself: one that was altered in any byte is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import typing
from dataclasses import dataclass
from typing import Any, Final

from zoo.errors import WeightsMismatchError
from zoo.spec import Preprocessing, WeightSpec

LAYOUT: Final = 1
LARGEST: Final = 1 << 20
"""Bytes of the longest manifest that is read."""
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
STEM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_SELF: Final = "manifest_sha256"
MODES: Final[tuple[str, ...]] = typing.get_args(Preprocessing)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What is known of a converted weight set.

    Attributes:
        backbone: Registered name of the network.
        name: What the caller asks for, as in ``create_backbone(weights=name)``.
        publisher: Whose layout the source file had.
        source: Name of the file it was made from.
        source_sha256: Digest of that file.
        licence: Of the weights; ``"not stated"`` where nobody said.
        citation: Whom to cite.
        input_convention: The pixel values the weights were trained on, in words.
        input_range: Lowest and highest value that the network is fed behind the preprocessing.
        preprocessing: What turns 0-255 into that.
        channels: Input channels of the first kernel.
        converter: What made the arrays out of the source: ``"module:function"``, or ``"keras"``.
        converter_sha256: Digest of the converter's source code.
        stripped: Layers or tensors of the source that were left out, a classification head.
        reference: Values of ``zoo.weights.reference``, computed when the set was made.
        made_with: Name of a library -> its version then.
        created: Time of conversion, UTC, ISO 8601.
        sha256: Digest of the ``.safetensors`` file.
        size: Its bytes.
        layout: Of the pair of files.
    """

    backbone: str
    name: str
    publisher: str
    source: str
    source_sha256: str
    licence: str
    citation: str
    input_convention: str
    input_range: tuple[float, float] | None
    preprocessing: Preprocessing
    channels: int
    converter: str
    converter_sha256: str | None
    stripped: tuple[str, ...]
    reference: tuple[float, ...]
    made_with: dict[str, str]
    created: str
    sha256: str
    size: int
    layout: int = LAYOUT

    def weight(self) -> WeightSpec:
        """Describe the set as the catalogue would."""
        return WeightSpec(
            name=self.name,
            source="file",
            file=self.source,
            sha256=self.source_sha256,
            licence=self.licence,
            citation=self.citation,
            input_convention=self.input_convention,
            input_range=self.input_range,
            preprocessing=self.preprocessing,
            channels=self.channels,
            converter=None if self.converter == "keras" else self.converter,
            reference=self.reference,
        )


def to_json(manifest: Manifest) -> str:
    """Write a manifest, its own digest last."""
    content = dataclasses.asdict(manifest)
    digest = hashlib.sha256(_canonical(content).encode()).hexdigest()
    return _canonical({**content, _SELF: digest})


def from_json(text: str, *, file: str) -> Manifest:
    """Read a manifest.

    Args:
        text: What ``to_json`` wrote.
        file: What to call it in a message.

    Raises:
        WeightsMismatchError: When it is damaged, altered, or of a later radzoo.
    """
    try:
        content = json.loads(text)
        if isinstance(content, dict) and content.get("layout", LAYOUT) != LAYOUT:
            raise _refused(file, f"is of layout {content['layout']!r}; this radzoo reads {LAYOUT}")
        del content[_SELF]
        manifest = Manifest(**{key: _frozen(value) for key, value in content.items()})
        same = to_json(manifest) == text
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _refused(file, "is damaged, or no manifest of weights") from error
    if not same:
        raise _refused(file, "was altered after it was written")
    fault = _fault(manifest)
    if fault is not None:
        raise _refused(file, f"has an invalid {fault}")
    return manifest


def _canonical(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _fault(manifest: Manifest) -> str | None:
    """Name the first field that cannot be."""
    range_ = manifest.input_range
    checks = {
        "backbone": NAME.fullmatch(manifest.backbone),
        "name": NAME.fullmatch(manifest.name),
        "source": is_plain_name(manifest.source),
        "source_sha256": _DIGEST.fullmatch(manifest.source_sha256),
        "preprocessing": manifest.preprocessing in MODES,
        "channels": 1 <= manifest.channels <= 4096,
        "sha256": _DIGEST.fullmatch(manifest.sha256),
        "size": manifest.size > 0,
        "reference": all(isinstance(value, float | int) for value in manifest.reference),
        "input_range": range_ is None or (len(range_) == 2 and range_[0] < range_[1]),
    }
    return next((name for name, good in checks.items() if not good), None)


def is_plain_name(name: str) -> bool:
    """Tell whether a name is that of a file and of nothing else: no folder, no control character.

    Args:
        name: As somebody wrote it, on whatever system.
    """
    return (
        0 < len(name) < 256
        and name.isprintable()
        and not set(name) & set("/\\:")
        and (name not in (".", ".."))
    )


def _refused(file: str, problem: str) -> WeightsMismatchError:
    return WeightsMismatchError(
        f"the manifest {file!r} {problem}: remove it with its weights and import the source anew"
    )
