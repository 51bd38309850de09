"""A layout that the configuration spells out: where the files of a case lie, with its name as ``{case}``.

    images: ["{case}/flair.nii.gz", "{case}/t1c.nii.gz"]    a file a channel
    masks: ["{case}/seg.nii.gz"]                            a file, or a file a label
    field_of_view: null

A ``*`` stands for any letters of a name. Paths start from the data set's folder.
"""

import glob
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pipeline.config.data import CASE, FilesConfig
from pipeline.errors import DatasetError
from pipeline.formats import registry
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.dataset_json import described, read_description
from pipeline.layouts.scan_files import case_name
from pipeline.wording import enumerate_names


def read(root: Path, files: FilesConfig) -> Dataset:
    """Find the files of each case; each case is a patient for now.

    Raises:
        DatasetError: no file fits, or two files fit the same place of a case.
    """
    channels = [find(root, pattern) for pattern in files.images]
    masks = [find(root, pattern) for pattern in files.masks]
    views = find(root, files.field_of_view) if files.field_of_view is not None else {}
    names = sorted(set[str]().union(*channels, *masks))
    whole = [name for name in names if all(name in channel for channel in channels)]
    if not whole:
        raise _nothing(root, files)
    masked = [name for name in whole if masks and all(name in each for each in masks)]
    description = read_description(root)
    return replace(
        described(root, description),
        cases=tuple(
            Case(
                name,
                tuple(channel[name] for channel in channels),
                masks[0][name],
                name,
                views.get(name),
                further_masks=tuple(each[name] for each in masks[1:]),
            )
            for name in masked
            if files.field_of_view is None or name in views
        ),
        channel_files=tuple(map(below_input, files.images)) if len(files.images) > 1 else (),
        unmasked=tuple(channels[0][name] for name in whole if name not in masked),
        orphan_masks=tuple(
            each[name] for each in masks for name in each if not any(name in channel for channel in channels)
        ),
        incomplete=tuple(_missing(root, files, channels, views=views, names=names)),
    )


def _missing(
    root: Path,
    files: FilesConfig,
    channels: list[dict[str, Path]],
    *,
    views: dict[str, Path],
    names: Iterable[str],
) -> Iterable[Path]:
    """The files that a case lacks while it has others: a channel, or the field of view."""
    for name in names:
        if any(name in channel for channel in channels):
            for pattern, channel in zip(files.images, channels, strict=True):
                if name not in channel:
                    yield root / pattern.replace(CASE, name)
            if files.field_of_view is not None and name not in views:
                yield root / files.field_of_view.replace(CASE, name)


def find(root: Path, pattern: str) -> dict[str, Path]:
    """The files that fit a pattern, by the name of their case.

    Raises:
        DatasetError: two files of one case fit.
    """
    expression, found = expression_of(pattern), dict[str, Path]()
    for path in sorted(root.glob(_glob(pattern))):
        fits = expression.fullmatch(path.relative_to(root).as_posix())
        if fits is None or not path.is_file() or path.name.startswith(".") or registry.belongs_to(path) is not None:
            continue
        other = found.setdefault(fits["case"], path)
        if other is not path:
            raise DatasetError(
                f"one file of the case {fits['case']} that fits {pattern}",
                f"{other.name} and {path.name}",
                "Make the pattern more precise, or move one of them elsewhere.",
            )
    return found


def _glob(pattern: str) -> str:
    """The pattern for `Path.glob`, in which brackets and question marks are letters like others."""
    return "*".join(map(glob.escape, pattern.replace(CASE, "*").split("*")))


def expression_of(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression, of which the group ``case`` is the case's name.

    Example:
        >>> expression_of("images/{case}_training.*").fullmatch("images/21_training.tif")["case"]
        '21'
    """
    first, *rest = (re.escape(part).replace(r"\*", "[^/]*") for part in pattern.split(CASE))
    return re.compile(first + "(?P<case>[^/]+?)" + "(?P=case)".join(rest))


def below_input(pattern: str) -> str:
    """The part of a pattern that holds for scans to predict: without the folders before the case's name and the ending.

    Example:
        >>> below_input("imagesTr/{case}_0000.nii.gz"), below_input("train/{case}/flair.nii")
        ('{case}_0000', '{case}/flair')
    """
    parts = Path(pattern).parts
    first = next(index for index, part in enumerate(parts) if CASE in part)
    return "/".join((*parts[first:-1], case_name(Path(pattern)).removesuffix(".*")))


def _nothing(root: Path, files: FilesConfig) -> DatasetError:
    counts = [f"{len(find(root, pattern))} that fit {pattern}" for pattern in (*files.images, *files.masks)]
    return DatasetError(
        f"cases in {root} with all the files of data.files", enumerate_names(counts), "Correct data.files or data.root."
    )
