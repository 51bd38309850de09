"""The plain layout: ``images/`` beside ``masks/`` or ``labels/``, matched by the names of the files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DatasetError
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.dataset_json import read_description
from pipeline.layouts.scan_files import index, list_scans
from pipeline.wording import enumerate_names

IMAGE_FOLDER = "images"
MASK_FOLDERS = ("masks", "labels")
MASK_SUFFIXES = ("_mask", "_seg", "_label")


@dataclass(frozen=True)
class Matching:
    """Images and masks by the name of their case.

    Attributes:
        pairs: case name -> image and mask.
        images: images that no mask matches.
        masks: masks that match no image.
    """

    pairs: dict[str, tuple[Path, Path]]
    images: tuple[Path, ...]
    masks: tuple[Path, ...]


def recognises(root: Path) -> bool:
    """Whether a folder looks like this layout."""
    return (root / IMAGE_FOLDER).is_dir() and any((root / name).is_dir() for name in MASK_FOLDERS)


def read(root: Path) -> Dataset:
    """Pair the files of a folder; a dataset.json may name labels and modalities, and each case is a patient for now.

    Raises:
        DatasetError: folders are missing or ambiguous, masks match images in more than one way, or dataset.json is
            broken.
    """
    description = read_description(root)
    images, masks = list_scans(root / IMAGE_FOLDER), list_scans(_mask_folder(root))
    matching = match(index(images.scans), index(masks.scans))
    return Dataset(
        name=description.name or root.resolve().name,
        root=root,
        labels=description.labels or {},
        modalities=description.modalities,
        cases=tuple(Case(name, (image,), mask, name) for name, (image, mask) in sorted(matching.pairs.items())),
        declared=bool(description.labels),
        own_labels=description.labels or {},
        own_modalities=description.modalities,
        unmasked=matching.images,
        orphan_masks=matching.masks,
        ignored=images.ignored + masks.ignored,
    )


def match(images: Mapping[str, Path], masks: Mapping[str, Path]) -> Matching:
    """Give each image the mask of its name, or of its name followed by one of MASK_SUFFIXES.

    A mask that has the very name of an image belongs to that image, whatever its suffix.

    Raises:
        DatasetError: an image has more than one mask to choose from (``a`` and ``a_seg``).
    """
    candidates = {name: _candidates(name, images, masks) for name in images}
    ambiguous = [f"{name} ({', '.join(found)})" for name, found in candidates.items() if len(found) > 1]
    if ambiguous:
        raise DatasetError(
            "one mask an image", f"several for {enumerate_names(ambiguous)}", "Keep one mask of each in the folder."
        )
    chosen = {name: found[0] for name, found in candidates.items() if found}
    return Matching(
        {name: (images[name], masks[mask]) for name, mask in chosen.items()},
        tuple(path for name, path in images.items() if name not in chosen),
        tuple(path for name, path in masks.items() if name not in chosen.values()),
    )


def _candidates(name: str, images: Mapping[str, Path], masks: Mapping[str, Path]) -> list[str]:
    suffixed = (name + suffix for suffix in MASK_SUFFIXES)
    return [mask for mask in (name, *(each for each in suffixed if each not in images)) if mask in masks]


def _mask_folder(root: Path) -> Path:
    found = [name for name in MASK_FOLDERS if (root / name).is_dir()]
    if len(found) > 1:
        raise DatasetError(
            "one folder of masks", f"both {' and '.join(found)} in {root}", "Move the one that is not meant elsewhere."
        )
    if not found or not (root / IMAGE_FOLDER).is_dir():
        raise DatasetError(
            "a folder images beside a folder masks or labels", f"not both in {root}", "Check data.root and data.layout."
        )
    return root / found[0]
