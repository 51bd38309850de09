"""The Brain Imaging Data Structure: ``sub-01/anat/sub-01_T1w.nii.gz``, masks below ``derivatives/``.

A mask belongs to the image whose name it continues (``sub-01_T1w_seg-manual``), or, as the standard has it, to the one
whose entities it shares (``sub-01_dseg``). What is left of its name is its kind. (bids-specification.readthedocs.io)
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from pipeline.errors import DatasetError
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.scan_files import case_name, index, is_scan
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
        DatasetError: there are several kinds of masks, or, without masks, of images; the message lists them. Two files
            have one name, or tables of labels cannot be read or disagree.
    """
    images = index(_scans(root.glob("sub-*/**/*")))
    files = _scans((root / DERIVATIVES).glob("**/sub-*"))
    masks = _by_kind(images, files)
    if len(masks) > 1:
        raise _several(root, masks, images)
    if not masks:
        orphans = tuple(path for path in files if _suffix(case_name(path)) in SEGMENTATIONS)
        return replace(_unlabelled(root, images), orphan_masks=orphans)
    ((kind, drawn),) = masks.items()
    own = {name: path for name, path in images.items() if _suffix(name) == kind.suffix}
    labels = _labels(root, drawn.values())
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
        orphan_masks=_orphans(files, kind, drawn),
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


def _orphans(files: Iterable[Path], kind: Kind, drawn: dict[str, Path]) -> tuple[Path, ...]:
    """Masks that by their names are of the kind, and drawn on no image that there is."""
    known = set(drawn.values())
    return tuple(path for path in files if path not in known and case_name(path).endswith(f"_{kind.rest}"))


def _suffix(name: str) -> str:
    return name.rpartition("_")[2]


def _subject(name: str) -> str:
    return name.partition("_")[0]


def _labels(root: Path, masks: Iterable[Path]) -> dict[str, int]:
    """Names of the labels without the background, from the tables beside the masks or above them; empty without any.

    Raises:
        DatasetError: a table cannot be read, or two of them differ.
    """
    above = {folder for mask in masks for folder in mask.parents if folder == root or root in folder.parents}
    tables = {path: _table(path) for folder in sorted(above) for path in sorted(folder.glob(f"*{LABELS}"))}
    named = {path: labels for path, labels in tables.items() if labels}
    if len({tuple(labels.items()) for labels in named.values()}) > 1:
        found = enumerate_names(str(path.relative_to(root)) for path in named)
        raise DatasetError(
            f"tables *{LABELS} that agree on the labels", f"others in {found}", "Keep the one that holds."
        )
    return next(iter(named.values()), {})


def _table(path: Path) -> dict[str, int]:
    """Names and values of a table, in the order of the values; empty where it has no columns of these."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        values = {row["name"]: int(row["index"]) for row in rows if {"index", "name"} <= set(row)}
    except (OSError, ValueError, TypeError, csv.Error) as error:
        remedy = "Correct it: tab-separated, in UTF-8, with whole numbers under index."
        raise DatasetError("a table of labels with the columns index and name", f"{path}: {error}", remedy) from error
    return {name: value for name, value in sorted(values.items(), key=lambda item: item[1]) if value > 0}


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
    image, mask = (
        _common_pattern({name: files[name].relative_to(root) for name in drawn}, kind.suffix)
        for files in (images, drawn)
    )
    return DatasetError(
        f"masks of one kind below {root / DERIVATIVES}",
        enumerate_names(kinds, shown=len(kinds)),
        f'Say which are meant: data.files={{images: ["{image}"], masks: ["{mask}"]}}, with '
        'data.patient_pattern="^(sub-[^_]+)"; medseg check says then whether all are found.',
    )


def _common_pattern(paths: Mapping[str, Path], suffix: str) -> str:
    """The pattern of files by the names of their images: what their patterns share, with ``**`` for other folders."""
    patterns = sorted({_pattern(path, name, suffix) for name, path in paths.items()})
    if len(patterns) == 1:
        return patterns[0]
    folders, names = [Path(pattern).parts[:-1] for pattern in patterns], {Path(pattern).name for pattern in patterns}
    shared = [parts[0] for parts in takewhile(lambda level: len(set(level)) == 1, zip(*folders, strict=False))]
    name = names.pop() if len(names) == 1 else f"{Path(patterns[0]).name.partition('.')[0]}.*"
    return "/".join((*shared, "**", name) if len(set(folders)) > 1 else (*shared, name))


def _pattern(path: Path, name: str, suffix: str) -> str:
    """A file's path with ``{case}`` for what names the case, and any subject's and session's folder in place of one."""
    case = name.removesuffix(f"_{suffix}")
    folders = (f"{part[:4]}*" if part.startswith(("sub-", "ses-")) else part for part in path.parts[:-1])
    return "/".join((*folders, path.name.replace(case, "{case}", 1)))
