"""Images and masks side by side in one folder, told apart by their names: ``brain1_image`` and ``brain1_label``."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from pipeline.errors import DatasetError
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.dataset_json import described, read_description
from pipeline.layouts.scan_files import MASK_ENDINGS, case_name, index, list_scans
from pipeline.wording import enumerate_names

IMAGE_ENDINGS = ("_image", "_img", "_scan", "-image", "")


def recognises(root: Path) -> bool:
    """Whether a folder looks like this layout: some image with its mask beside it."""
    return bool(_pairs({case_name(path): path for path in list_scans(root).scans}))


def read(root: Path) -> Dataset:
    """Pair the files of the folder; a dataset.json may name labels and modalities.

    Raises:
        DatasetError: two files have one name, an image has two masks, or dataset.json is broken.
    """
    description, listing = read_description(root), list_scans(root)
    pairs = {stem: _only_pair(stem, found) for stem, found in _pairs(index(listing.scans)).items()}
    both = sorted({image.name for image, _ in pairs.values()} & {mask.name for _, mask in pairs.values()})
    if both:
        found = f"{enumerate_names(both)} as a mask and as a scan"
        raise DatasetError("one role a file", found, "Move one of the masks, or say which is which in data.files.")
    used = {path for pair in pairs.values() for path in pair}
    rest = [path for path in listing.scans if path not in used]
    return replace(
        described(root, description),
        cases=tuple(Case(name, (image,), mask, name) for name, (image, mask) in sorted(pairs.items())),
        unmasked=tuple(path for path in rest if not _is_mask(path)),
        orphan_masks=tuple(path for path in rest if _is_mask(path)),
        ignored=listing.ignored,
    )


def _pairs(files: dict[str, Path]) -> dict[str, list[tuple[Path, Path]]]:
    """Images with their masks by the name of the case, of files by name; more than one where it is not clear which."""
    pairs: dict[str, list[tuple[Path, Path]]] = defaultdict(list)
    for name, mask in files.items():
        ending = next((each for each in MASK_ENDINGS if name.endswith(each) and name != each), None)
        stem = name if ending is None else name.removesuffix(ending)
        image = next((files[stem + other] for other in IMAGE_ENDINGS if stem + other in files), None)
        if ending is not None and image is not None:
            pairs[stem].append((image, mask))
    return dict(pairs)


def _only_pair(case: str, found: list[tuple[Path, Path]]) -> tuple[Path, Path]:
    if len(found) > 1:
        masks = " and ".join(mask.name for _, mask in found)
        raise DatasetError(f"one mask of the image {case}", masks, "Move one of them, or say which in data.files.")
    return found[0]


def _is_mask(path: Path) -> bool:
    return case_name(path).endswith(MASK_ENDINGS)
