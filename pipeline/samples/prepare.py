"""Preparing a training case: reading, preprocessing, and a list of its foreground."""

from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.config.cache import CacheConfig
from pipeline.config.preprocessing import BorderConfig, Outside
from pipeline.errors import DatasetError
from pipeline.formats import registry
from pipeline.layouts.case_files import read_classes, read_image
from pipeline.layouts.dataset import Case
from pipeline.metrics.instances import instances_of
from pipeline.preprocessing.fitted import FittedPreprocessing
from pipeline.preprocessing.labels import IGNORED
from pipeline.preprocessing.prepare import prepare, prepare_labels
from pipeline.preprocessing.weight_map import weight_map
from pipeline.samples.cache import CaseCache, PreparedCase, StoredCase, make_key

FOREGROUND_VOXELS = 5000
NO_BORDER = BorderConfig()


@dataclass(frozen=True)
class Recipe:
    """What training cases are made into.

    Attributes:
        fitted: preprocessing of the model.
        label_values: mask value of each class above 0, in order.
        border: weights of what lies between structures.
        outside: what voxels outside the field of view are trained as.
    """

    fitted: FittedPreprocessing
    label_values: tuple[int, ...]
    border: BorderConfig = NO_BORDER
    outside: Outside = "ignored"


def case_key(case: Case, recipe: Recipe) -> str:
    """A hash of everything that `prepare_case` depends on, the content of the files included."""
    return make_key(
        {
            "name": case.name,
            "images": registry.content_sha256(case.images),
            "masks": registry.content_sha256(case.masks),
            "field_of_view": registry.content_sha256((case.field_of_view,)) if case.field_of_view is not None else None,
            "coding": asdict(case.coding),
            "preprocessing": recipe.fitted.model_dump(mode="json"),
            "labels": recipe.label_values,
            "border": recipe.border.model_dump(mode="json"),
            "outside": recipe.outside,
        }
    )


def store_case(case: Case, *, recipe: Recipe, cache: CacheConfig) -> StoredCase:
    """The entry of a case in the cache, prepared first where it is missing; as `prepare_unchanged`."""
    key = case_key(case, recipe)
    return CaseCache(cache).get(key, partial(prepare_unchanged, case, recipe, key))


def prepare_unchanged(case: Case, recipe: Recipe, key: str) -> PreparedCase:
    """Prepare a case, if need be hours after its key was made; as `prepare_case`.

    Raises:
        DatasetError: its files are no longer those of the key, under which they would be found.
        ScanError: as `prepare_case`.
    """
    prepared = prepare_case(case, recipe)
    if case_key(case, recipe) != key:
        raise DatasetError(
            "files that stay as they are while they are trained on",
            f"others for the case {case.name}",
            "Start the run afresh.",
        )
    return prepared


def prepare_case(case: Case, recipe: Recipe) -> PreparedCase:
    """Read and prepare a case with its mask; one without a mask has the number 1 wherever there is a scan.

    Raises:
        ScanError: a file cannot be read, or the mask has a label that is not among the values.
    """
    scan = read_image(case.images)
    prepared = prepare(scan, recipe.fitted)
    classes = np.ones(scan.shape, np.uint8) if case.mask is None else _classes(case, recipe)
    labels = prepare_labels(classes, prepared.trail)
    voxels = foreground(labels, len(recipe.label_values))
    weights = border_weights(labels, recipe) if recipe.border.weight > 0 else None
    return PreparedCase(case.name, prepared.image, labels, voxels, prepared.trail, weights)


def _classes(case: Case, recipe: Recipe) -> NDArray[np.uint8]:
    classes = read_classes(case, recipe.label_values)
    if recipe.outside == "background":
        classes[classes == IGNORED] = 0
    return classes


def border_weights(labels: NDArray[np.uint8], recipe: Recipe) -> NDArray[np.float32]:
    """What each voxel counts for (I, J, K): more between parts of structures that nearly touch.

    Each connected part of the foreground is taken as one cell: masks have no numbers of cells.
    """
    stacked = recipe.fitted.slice_axis is not None
    counted, border = labels != IGNORED, recipe.border
    cells = instances_of((labels > 0) & counted, per_slice=stacked)
    return weight_map(cells, per_slice=stacked, w0=border.weight, sigma=border.sigma_voxels, counted=counted)


def foreground(labels: NDArray[np.uint8], classes: int) -> tuple[NDArray[np.int32], ...]:
    """Some voxels of each class above 0, at even steps through memory."""
    found = []
    for value in range(1, classes + 1):
        voxels = np.argwhere(labels == value).astype(np.int32)
        found.append(voxels[:: max(1, len(voxels) // FOREGROUND_VOXELS)])
    return tuple(found)
