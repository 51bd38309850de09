"""The plain layout: ``images/`` beside a folder of masks, matched by the names of the files.

Where no mask has the name of its image, with or without a usual suffix, both are matched by what is left of the names
without what the files of a folder have in common: ``21_training`` and ``21_manual1`` are both 21.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import DatasetError
from pipeline.layouts.affixes import without_affixes
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.dataset_json import described, read_description
from pipeline.layouts.scan_files import MASK_ENDINGS, index, list_scans
from pipeline.wording import enumerate_names

IMAGE_FOLDER = "images"
MASK_FOLDERS = ("masks", "labels", "1st_manual", "manual", "segmentations", "annotations")
VIEW_FOLDERS = ("field_of_view", "fov")
"""Where a mask means anything."""
DRIVE_MASKS, DRIVE_VIEWS = "1st_manual", "mask"
"""DRIVE calls its fields of view ``mask``; beside other folders of masks, one of that name may be either."""


@dataclass(frozen=True)
class Matching:
    """Images and masks by the name of their case.

    Attributes:
        pairs: case name -> image and mask.
        images: images that no mask matches.
        masks: masks that match no image.
        loose: whether names were matched by what tells them apart.
    """

    pairs: dict[str, tuple[Path, Path]]
    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    loose: bool = False


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
    matching = match_folders(index(images.scans), index(masks.scans))
    views = _views(root, matching, masks=_mask_folder(root).name)
    return replace(
        described(root, description),
        cases=tuple(
            Case(name, (image,), mask, name, views.get(name)) for name, (image, mask) in sorted(matching.pairs.items())
        ),
        loose_match=_example(matching) if matching.loose else "",
        unmasked=matching.images,
        orphan_masks=matching.masks,
        ignored=images.ignored + masks.ignored,
    )


def match_folders(images: Mapping[str, Path], masks: Mapping[str, Path]) -> Matching:
    """As `match`; where no name fits, by what tells the names of each folder apart.

    Raises:
        DatasetError: as `match`.
    """
    plain = match(images, masks)
    if plain.pairs or not images or not masks:
        return plain
    bare = match(without_affixes(images), without_affixes(masks))
    return replace(bare, loose=True) if bare.pairs else plain


def _example(matching: Matching) -> str:
    image, mask = matching.pairs[min(matching.pairs)]
    return f"{image.name} with {mask.name}"


def _views(root: Path, matching: Matching, *, masks: str) -> dict[str, Path]:
    """The field of view of each case that has one.

    Raises:
        DatasetError: a folder of them is there, and lacks some.
    """
    known = (*VIEW_FOLDERS, DRIVE_VIEWS) if masks == DRIVE_MASKS else VIEW_FOLDERS
    folder = next((root / name for name in known if (root / name).is_dir()), None)
    if folder is None:
        return {}
    images = {name: image for name, (image, _) in matching.pairs.items()}
    views = match_folders(images, index(list_scans(folder).scans))
    if views.images:
        lacking = enumerate_names(path.name for path in views.images)
        raise DatasetError(
            f"an image in {folder.name} for every scan", f"none for {lacking}", "Add it, or move the folder."
        )
    return {name: view for name, (_, view) in views.pairs.items()}


def match(images: Mapping[str, Path], masks: Mapping[str, Path]) -> Matching:
    """Give each image the mask of its name, or of its name followed by one of MASK_ENDINGS.

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
    suffixed = (name + suffix for suffix in MASK_ENDINGS)
    return [mask for mask in (name, *(each for each in suffixed if each not in images)) if mask in masks]


def _mask_folder(root: Path) -> Path:
    found = [name for name in MASK_FOLDERS if (root / name).is_dir()]
    if DRIVE_MASKS not in found and (root / DRIVE_VIEWS).is_dir():
        found.append(DRIVE_VIEWS)
    if len(found) > 1:
        remedy = f"Move the one that is not meant elsewhere; call a folder of fields of view {VIEW_FOLDERS[0]}."
        raise DatasetError("one folder of masks", f"both {' and '.join(found)} in {root}", remedy)
    if not found or not (root / IMAGE_FOLDER).is_dir():
        raise DatasetError(
            "a folder images beside a folder masks or labels", f"not both in {root}", "Check data.root and data.layout."
        )
    return root / found[0]
