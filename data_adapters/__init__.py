"""From files to cases to batches: adapters, splits, the leakage gate, the cache and pipelines.

Importing this package loads nothing heavy: each name comes from its module on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from data_adapters.lazy import lazy_names

if TYPE_CHECKING:
    from data_adapters.adapter import (
        Adapter,
        IndexRow,
        Skip,
        adapters,
        labelled_rows,
        open,
        register_adapter,
    )
    from data_adapters.augment import Augmenter, AugmentPolicy, apply_view, policy, tta_views
    from data_adapters.cache import Decoded, decode
    from data_adapters.case import Case, Display, Geometry, Lesion, check_case
    from data_adapters.chain import apply_chain, run_chain
    from data_adapters.dicom.display import apply_display, bright_is_dense
    from data_adapters.errors import (
        CaseError,
        DataError,
        FormatError,
        LeakageError,
        SplitError,
    )
    from data_adapters.files import open_files
    from data_adapters.folds import Folds, choose_splits, frozen_splits, make_folds
    from data_adapters.hashing import Fingerprint, fingerprint, near_duplicates
    from data_adapters.home import home
    from data_adapters.leakage import LeakageResult, OtherData, check_leakage
    from data_adapters.pictures import read_picture
    from data_adapters.pipeline import TrainStream, eval_stream
    from data_adapters.splits import (
        Splits,
        make_splits,
        read_splits,
        resolve_splits,
        write_splits,
    )
    from data_adapters.store import Store, build_store, open_store
    from data_adapters.store_patches import random_patches
    from data_adapters.volumes.read import read_volume
    from data_adapters.volumes.write import write_volume

_NAMES = {
    "adapter": "Adapter IndexRow Skip adapters labelled_rows open register_adapter",
    "augment": "AugmentPolicy Augmenter apply_view policy tta_views",
    "cache": "Decoded decode",
    "case": "Case Display Geometry Lesion check_case",
    "chain": "apply_chain run_chain",
    "dicom.display": "apply_display bright_is_dense",
    "errors": "CaseError DataError FormatError LeakageError SplitError",
    "files": "open_files",
    "folds": "Folds choose_splits frozen_splits make_folds",
    "hashing": "Fingerprint fingerprint near_duplicates",
    "home": "home",
    "leakage": "LeakageResult OtherData check_leakage",
    "pictures": "read_picture",
    "pipeline": "TrainStream eval_stream",
    "splits": "Splits make_splits read_splits resolve_splits write_splits",
    "store": "Store build_store open_store",
    "store_patches": "random_patches",
    "volumes.read": "read_volume",
    "volumes.write": "write_volume",
}

__all__ = [
    "Adapter",
    "AugmentPolicy",
    "Augmenter",
    "Case",
    "CaseError",
    "DataError",
    "Decoded",
    "Display",
    "Fingerprint",
    "Folds",
    "FormatError",
    "Geometry",
    "IndexRow",
    "LeakageError",
    "LeakageResult",
    "Lesion",
    "OtherData",
    "Skip",
    "SplitError",
    "Splits",
    "Store",
    "TrainStream",
    "adapters",
    "apply_chain",
    "apply_display",
    "apply_view",
    "bright_is_dense",
    "build_store",
    "check_case",
    "check_leakage",
    "choose_splits",
    "decode",
    "eval_stream",
    "fingerprint",
    "frozen_splits",
    "home",
    "labelled_rows",
    "make_folds",
    "make_splits",
    "near_duplicates",
    "open",
    "open_files",
    "open_store",
    "policy",
    "random_patches",
    "read_picture",
    "read_splits",
    "read_volume",
    "register_adapter",
    "resolve_splits",
    "run_chain",
    "tta_views",
    "write_splits",
    "write_volume",
]

__getattr__, __dir__ = lazy_names(__name__, _NAMES)
