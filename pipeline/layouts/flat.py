"""Images and masks side by side in one folder, told apart by their names: ``brain1_image`` and ``brain1_label``."""

from pathlib import Path

from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.dataset_json import read_description
from pipeline.layouts.scan_files import Listing, case_name, index, list_scans

IMAGE_ENDINGS = ("_image", "_img", "_scan", "-image", "")
MASK_ENDINGS = ("_label", "_labels", "_mask", "_seg", "_segmentation", "-label", "-mask", "-seg")


def recognises(root: Path) -> bool:
    """Whether a folder looks like this layout: some image with its mask beside it."""
    return bool(_pairs(list_scans(root)))


def read(root: Path) -> Dataset:
    """Pair the files of the folder; a dataset.json may name labels and modalities.

    Raises:
        DatasetError: two files have one name, or dataset.json is broken.
    """
    description, listing = read_description(root), list_scans(root)
    pairs = _pairs(listing)
    used = {path for pair in pairs.values() for path in pair}
    rest = [path for path in listing.scans if path not in used]
    return Dataset(
        name=description.name or root.resolve().name,
        root=root,
        labels=description.labels or {},
        modalities=description.modalities,
        cases=tuple(Case(name, (image,), mask, name) for name, (image, mask) in sorted(pairs.items())),
        declared=bool(description.labels),
        own_labels=description.labels or {},
        own_modalities=description.modalities,
        unmasked=tuple(path for path in rest if not _is_mask(path)),
        orphan_masks=tuple(path for path in rest if _is_mask(path)),
        ignored=listing.ignored,
    )


def _pairs(listing: Listing) -> dict[str, tuple[Path, Path]]:
    """Image and mask of each case.

    Raises:
        DatasetError: two files have one name.
    """
    files = index(listing.scans)
    pairs = {}
    for name, mask in files.items():
        for ending in MASK_ENDINGS:
            stem = name.removesuffix(ending)
            image = next((files[stem + other] for other in IMAGE_ENDINGS if stem + other in files), None)
            if stem not in ("", name) and image is not None:
                pairs[stem] = (image, mask)
    return pairs


def _is_mask(path: Path) -> bool:
    return case_name(path).endswith(MASK_ENDINGS)
