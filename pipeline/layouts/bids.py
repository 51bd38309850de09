"""The Brain Imaging Data Structure: ``sub-01/anat/sub-01_T1w.nii.gz``, masks below ``derivatives/``.

A mask belongs to the image whose name it continues (``sub-01_T1w_seg-manual``), or, as the standard has it, to the one
whose entities it shares (``sub-01_dseg``). What is left of its name is its kind. (bids-specification.readthedocs.io)
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DatasetError
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.scan_files import case_name, is_scan
from pipeline.wording import enumerate_names

DERIVATIVES = "derivatives"
SEGMENTATIONS = ("dseg", "mask")
"""Suffixes of the standard's own masks."""
LABELS = "dseg.tsv"


@dataclass(frozen=True)
class Kind:
    """Masks of one kind: which images they were drawn on, and what their names say besides.

    Attributes:
        suffix: of the images, e.g. T1w.
        rest: of the masks' names, e.g. seg-manual.
    """

    suffix: str
    rest: str


def recognises(root: Path) -> bool:
    """Whether a folder looks like this layout: subjects' folders with files that are named after them."""
    return any(_names_of_subject(folder) for folder in root.glob("sub-*"))


def read(root: Path) -> Dataset:
    """Pair images with the only kind of masks that there is; scans of a subject are one patient's.

    Raises:
        DatasetError: there are several kinds of masks, or, without masks, of images; the message lists them.
    """
    images = {case_name(path): path for path in _scans(root.glob("sub-*/**/*"))}
    masks = _by_kind(images, _scans((root / DERIVATIVES).glob("**/sub-*")))
    if len(masks) > 1:
        raise _several(root, masks, images)
    if not masks:
        return _unlabelled(root, images)
    ((kind, drawn),) = masks.items()
    own = {name: path for name, path in images.items() if _suffix(name) == kind.suffix}
    labels = _labels(root)
    return Dataset(
        name=root.resolve().name,
        root=root,
        labels=labels,
        modalities=(kind.suffix,),
        cases=tuple(Case(name, (own[name],), drawn[name], _subject(name)) for name in sorted(drawn)),
        declared=bool(labels),
        modalities_declared=False,
        own_labels=labels,
        unlabelled=tuple(Case(name, (path,), None, _subject(name)) for name, path in own.items() if name not in drawn),
    )


def _names_of_subject(folder: Path) -> bool:
    return folder.is_dir() and any(path.name.startswith(f"{folder.name}_") for path in folder.glob("**/*"))


def _scans(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.name.startswith("sub-") and path.is_file() and is_scan(path))


def _by_kind(images: dict[str, Path], masks: Iterable[Path]) -> dict[Kind, dict[str, Path]]:
    """Masks by kind and by the name of their image.

    Raises:
        DatasetError: two masks of a kind belong to one image.
    """
    found: dict[Kind, dict[str, Path]] = defaultdict(dict)
    for path in masks:
        for image, rest in _images_of(case_name(path), images):
            other = found[Kind(_suffix(image), rest)].setdefault(image, path)
            if other is not path:
                raise DatasetError(
                    f"one mask {rest} of {image}", f"{other} and {path}", "Move one of them out of derivatives."
                )
    return dict(found)


def _images_of(mask: str, images: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """The image whose name a mask's continues, or those whose entities it shares, with what is left of its name."""
    continued = [image for image in images if mask.startswith(f"{image}_")]
    if continued:
        image = max(continued, key=len)
        yield image, mask.removeprefix(f"{image}_")
    elif _suffix(mask) in SEGMENTATIONS:
        parts = mask.split("_")
        for image in images:
            own = image.split("_")[:-1]
            if set(own) <= set(parts):
                yield image, "_".join(part for part in parts if part not in own)


def _suffix(name: str) -> str:
    return name.rpartition("_")[2]


def _subject(name: str) -> str:
    return name.partition("_")[0]


def _labels(root: Path) -> dict[str, int]:
    """Names of the labels from the first dseg.tsv, without the background; empty where there is none."""
    for path in sorted(root.glob(f"**/*{LABELS}")):
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        if rows and {"index", "name"} <= set(rows[0]):
            values = {row["name"]: int(row["index"]) for row in rows}
            return {name: value for name, value in sorted(values.items(), key=lambda item: item[1]) if value > 0}
    return {}


def _unlabelled(root: Path, images: dict[str, Path]) -> Dataset:
    suffixes = sorted({_suffix(name) for name in images})
    if len(suffixes) > 1:
        raise DatasetError(
            f"masks below {root / DERIVATIVES}, or images of one kind",
            f"no masks, and images of the kinds {enumerate_names(suffixes)}",
            "Say in data.files which images are meant.",
        )
    unlabelled = tuple(Case(name, (path,), None, _subject(name)) for name, path in sorted(images.items()))
    return Dataset(root.resolve().name, root, {}, tuple(suffixes), (), unlabelled, declared=False)


def _several(root: Path, masks: dict[Kind, dict[str, Path]], images: dict[str, Path]) -> DatasetError:
    kinds = [f"{kind.rest} of {kind.suffix} ({len(drawn)})" for kind, drawn in masks.items()]
    kind, drawn = max(masks.items(), key=lambda item: len(item[1]))
    name = sorted(drawn)[0]
    image, mask = (_pattern(path.relative_to(root), name, kind.suffix) for path in (images[name], drawn[name]))
    return DatasetError(
        f"masks of one kind below {root / DERIVATIVES}",
        enumerate_names(kinds, shown=len(kinds)),
        f'Say which are meant: data.files={{images: ["{image}"], masks: ["{mask}"]}}.',
    )


def _pattern(path: Path, name: str, suffix: str) -> str:
    """A file's path with ``{case}`` for what names the case, and ``*`` for the folders of a subject and a session."""
    case = name.removesuffix(f"_{suffix}")
    folders = ("*" if part.startswith(("sub-", "ses-")) else part for part in path.parts[:-1])
    return "/".join((*folders, path.name.replace(case, "{case}", 1)))
