"""A layout that the configuration spells out: where the files of a case lie, with its name as ``{case}``.

    images: ["{case}/flair.nii.gz", "{case}/t1c.nii.gz"]    a file a channel
    masks: ["{case}/seg.nii.gz"]                            a file, or a file a label
    field_of_view: null

A ``*`` stands for any letters of a name, ``**`` for any number of folders above the case. Paths start from the data
set's folder.
"""

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from pipeline.config.data import CASE, FilesConfig
from pipeline.errors import DatasetError
from pipeline.formats import registry
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.dataset_json import described, read_description
from pipeline.layouts.scan_files import case_name, is_scan
from pipeline.wording import enumerate_names


@dataclass(frozen=True)
class _Found:
    """What the patterns found.

    Attributes:
        images: of each pattern, files by the name of their case.
        masks: in the same way.
        views: the fields of view by the name of their case; None where there is no pattern of them.
    """

    images: tuple[dict[str, Path], ...]
    masks: tuple[dict[str, Path], ...]
    views: dict[str, Path] | None

    def is_whole(self, name: str) -> bool:
        """Whether a case has every file, a mask among them."""
        parts = (*self.images, *self.masks, *([] if self.views is None else [self.views]))
        return bool(self.masks) and all(name in part for part in parts)

    def case(self, name: str) -> Case:
        """A case that `is_whole`."""
        mask, *further = (part[name] for part in self.masks)
        view = None if self.views is None else self.views[name]
        images = tuple(part[name] for part in self.images)
        return Case(name, images, mask, name, view, further_masks=tuple(further))


def read(root: Path, files: FilesConfig) -> Dataset:
    """Find the files of each case; each case is a patient for now.

    A file that fits several patterns belongs to the one with the most letters of its own, ``a_mask.nii`` to
    ``{case}_mask.nii`` and not to ``{case}.nii``.

    Raises:
        DatasetError: no file fits, or two files fit the same place of a case.
    """
    found = _find_all(root, files)
    names = sorted(set[str]().union(*found.images, *found.masks))
    scanned, masked = (set[str]().union(*parts) for parts in (found.images, found.masks))
    complete = [name for name in names if all(name in part for part in found.images)]
    if not complete:
        raise _nothing(root, files, found)
    unmasked = {found.images[0][name]: name for name in complete if name not in masked}
    orphans = {part[name]: name for part in found.masks for name in part if name not in scanned}
    description, elsewhere = read_description(root), _elsewhere(root, files)
    return replace(
        described(root, description),
        cases=tuple(found.case(name) for name in names if found.is_whole(name)),
        channel_files=channel_files(files.images) if len(files.images) > 1 else (),
        unmasked=tuple(unmasked),
        orphan_masks=tuple(orphans),
        incomplete=tuple((name, path) for name in sorted(scanned) for path in _missing(root, files, found, name=name)),
        elsewhere=tuple(elsewhere),
        stray_cases=unmasked | orphans | elsewhere,
    )


def _find_all(root: Path, files: FilesConfig) -> _Found:
    fitting = {pattern: list(_fitting(root, pattern)) for pattern in files.patterns}
    own = dict[Path, int]()
    for pattern, files_of_cases in fitting.items():
        for _, path in files_of_cases:
            own[path] = max(own.get(path, 0), _own_letters(pattern))
    found = {
        pattern: _by_case(pattern, [(name, path) for name, path in each if own[path] == _own_letters(pattern)])
        for pattern, each in fitting.items()
    }
    images, masks = (tuple(found[pattern] for pattern in each) for each in (files.images, files.masks))
    return _Found(images, masks, None if files.field_of_view is None else found[files.field_of_view])


def _elsewhere(root: Path, files: FilesConfig) -> dict[Path, str]:
    """Files that are called as the patterns of images say, in folders that no pattern leads to, and their cases."""
    known, found = {path for pattern in files.patterns for _, path in _fitting(root, pattern)}, dict[Path, str]()
    for name in dict.fromkeys(Path(pattern).name for pattern in files.images):
        if _own_letters(name.partition(".")[0]):  # names that say nothing but the case may be those of anything
            anywhere = f"**/{name}" if CASE in name else f"**/{CASE}/{name}"
            found |= {path: case for case, path in _fitting(root, anywhere) if path not in known}
    return found


def _own_letters(pattern: str) -> int:
    return len(pattern.replace(CASE, "").replace("*", ""))


def _missing(root: Path, files: FilesConfig, found: _Found, *, name: str) -> Iterable[Path]:
    """The files that a case lacks while it has others: a channel, a label's file, or the field of view."""
    parts = [*zip(files.images, found.images, strict=True)]
    if any(name in part for part in found.masks):
        parts += zip(files.masks, found.masks, strict=True)
    if files.field_of_view is not None and found.views is not None:
        parts.append((files.field_of_view, found.views))
    for pattern, part in parts:
        if name not in part:
            yield root / pattern.replace(CASE, name)


def find(root: Path, pattern: str) -> dict[str, Path]:
    """The files that fit a pattern, by the name of their case.

    Raises:
        DatasetError: two files of one case fit.
    """
    return _by_case(pattern, _fitting(root, pattern))


def _fitting(root: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    """The name of its case, and a file."""
    expression = expression_of(pattern)
    for path in sorted(root.glob(_glob(pattern))):
        below = path.relative_to(root)
        fits, is_hidden = expression.fullmatch(below.as_posix()), any(part.startswith(".") for part in below.parts)
        if fits is not None and path.is_file() and not is_hidden and _is_meant(path, pattern):
            yield fits["case"], path


def _by_case(pattern: str, fitting: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    found = dict[str, Path]()
    for name, path in fitting:
        other = found.setdefault(name, path)
        if other is not path:
            raise DatasetError(
                f"one file of the case {name} that fits {pattern}",
                f"{other.name} and {path.name}",
                "Make the pattern more precise, or move one of them elsewhere.",
            )
    return found


def _is_meant(path: Path, pattern: str) -> bool:
    """Whether a file that fits can be: a scan, where a pattern leaves its ending open, and the first of two files."""
    return is_scan(path) if pattern.endswith(".*") else registry.belongs_to(path) is None


def _glob(pattern: str) -> str:
    """The pattern for `Path.glob`, in which brackets and question marks are letters like others."""
    return "*".join(map(glob.escape, pattern.replace(CASE, "*").split("*")))


def expression_of(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression, of which the group ``case`` is the case's name.

    Example:
        >>> expression_of("images/{case}_training.*").fullmatch("images/21_training.tif")["case"]
        '21'
    """
    first, *rest = map(_expression, pattern.split(CASE))
    return re.compile(first + "(?P<case>[^/]+?)" + "(?P=case)".join(rest))


def _expression(part: str) -> str:
    """What lies between the names of the case, in which ``**/`` is any number of folders, none included."""
    names = (re.escape(each).replace(r"\*", "[^/]*") for each in part.split("**/"))
    return "(?:[^/]+/)*".join(names)


def below_input(pattern: str) -> str:
    """The part of a pattern that holds for scans to predict: without the folders before the case's name and the ending.

    Example:
        >>> below_input("imagesTr/{case}_0000.nii.gz"), below_input("train/{case}/flair.nii")
        ('{case}_0000', '{case}/flair')
    """
    parts = Path(pattern).parts
    first = next(index for index, part in enumerate(parts) if CASE in part)
    return "/".join((*parts[first:-1], _without_ending(pattern)))


def _without_ending(pattern: str) -> str:
    return case_name(Path(pattern)).removesuffix(".*")


def channel_files(patterns: Sequence[str]) -> tuple[str, ...]:
    """What tells the channels of scans to predict apart: `below_input`, with folders before the case where these do.

    Example:
        >>> channel_files(["train/flair/{case}.nii", "train/t1/{case}.nii"])
        ('flair/{case}', 't1/{case}')
    """
    short = tuple(map(below_input, patterns))
    if len(set(short)) == len(short):
        return short
    folders = [Path(pattern).parts[:-1] for pattern in patterns]
    shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, zip(*folders, strict=False)))
    return tuple(
        "/".join((*above[shared:], _without_ending(pattern))) for above, pattern in zip(folders, patterns, strict=True)
    )


def _nothing(root: Path, files: FilesConfig, found: _Found) -> DatasetError:
    parts = zip((*files.images, *files.masks), (*found.images, *found.masks), strict=True)
    counts = [f"{len(part)} that fit {pattern}" for pattern, part in parts]
    return DatasetError(
        f"cases in {root} with all the files of data.files", enumerate_names(counts), "Correct data.files or data.root."
    )
