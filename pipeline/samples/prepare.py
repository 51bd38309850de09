"""Preparing a training case: reading, preprocessing, and a list of its foreground."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.config.cache import CacheConfig
from pipeline.errors import DatasetError
from pipeline.formats import registry
from pipeline.layouts.dataset import Case
from pipeline.preprocessing.fitted import FittedPreprocessing
from pipeline.preprocessing.labels import to_classes
from pipeline.preprocessing.prepare import prepare, prepare_labels
from pipeline.samples.cache import CaseCache, PreparedCase, StoredCase, make_key

FOREGROUND_VOXELS = 5000


def case_key(case: Case, fitted: FittedPreprocessing, label_values: tuple[int, ...]) -> str:
    """A hash of everything that `prepare_case` depends on, the content of the files included."""
    assert case.mask is not None
    return make_key(
        {
            "name": case.name,
            "image": registry.content_sha256(case.image),
            "mask": registry.content_sha256(case.mask),
            "preprocessing": fitted.model_dump(mode="json"),
            "labels": label_values,
        }
    )


def store_case(
    case: Case, *, fitted: FittedPreprocessing, label_values: tuple[int, ...], cache: CacheConfig
) -> StoredCase:
    """The entry of a case in the cache, prepared first where it is missing; as `prepare_unchanged`."""
    key = case_key(case, fitted, label_values)
    return CaseCache(cache).get(key, partial(prepare_unchanged, case, fitted, label_values, key=key))


def prepare_unchanged(
    case: Case, fitted: FittedPreprocessing, label_values: tuple[int, ...], *, key: str
) -> PreparedCase:
    """Prepare a case, if need be hours after its key was made; as `prepare_case`.

    Raises:
        DatasetError: its files are no longer those of the key, under which they would be found.
        ScanError: as `prepare_case`.
    """
    prepared = prepare_case(case, fitted, label_values)
    if case_key(case, fitted, label_values) != key:
        raise DatasetError(
            "files that stay as they are while they are trained on",
            f"others for the case {case.name}",
            "Start the run afresh.",
        )
    return prepared


def prepare_case(case: Case, fitted: FittedPreprocessing, label_values: tuple[int, ...]) -> PreparedCase:
    """Read and prepare a case with its mask.

    Args:
        case: scan and mask.
        fitted: preprocessing of the model.
        label_values: mask value of each class above 0, in order.

    Raises:
        ScanError: a file cannot be read, or the mask has a label that is not among the values.
    """
    assert case.mask is not None
    prepared = prepare(registry.read_scan(case.image), fitted)
    classes = to_classes(registry.read_mask(case.mask).array[0], label_values)
    labels = prepare_labels(classes, prepared.trail)
    return PreparedCase(case.name, prepared.image, labels, foreground(labels, len(label_values)), prepared.trail)


def foreground(labels: NDArray[np.uint8], classes: int) -> tuple[NDArray[np.int32], ...]:
    """Some voxels of each class above 0, at even steps through memory."""
    found = []
    for value in range(1, classes + 1):
        voxels = np.argwhere(labels == value).astype(np.int32)
        found.append(voxels[:: max(1, len(voxels) // FOREGROUND_VOXELS)])
    return tuple(found)
