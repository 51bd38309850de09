"""Dividing cases into train, validation and test by patient, and the file that keeps the division.

The file is JSON: ``format_version``, ``settings`` (kind and seed, and the shares or folds), and the names of the cases
under ``train``, ``validation`` and ``test``, and under ``unused`` those that a user leaves out. Scans without a mask
that an autoencoder learns from as well are under ``unlabelled``, and are no matter of the split.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from pipeline.config.base import Section
from pipeline.config.data import SplitConfig
from pipeline.config.load import validate
from pipeline.errors import ConfigError, DatasetError
from pipeline.files import write_json
from pipeline.layouts.dataset import Case
from pipeline.layouts.json_file import read_json
from pipeline.wording import count_of, enumerate_names

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Split:
    """Names of the cases of each part, sorted.

    Attributes:
        train: what is trained on.
        validation: what chooses between weights.
        test: what is kept away until `evaluate`.
        unused: what a user left out.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    unused: tuple[str, ...] = ()

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """The names of each part."""
        return {"train": self.train, "validation": self.validation, "test": self.test, "unused": self.unused}


class SplitFile(Section):
    """The content of a split's file."""

    format_version: Literal[1]
    settings: dict[str, Any] = Field(default_factory=dict)
    train: tuple[str, ...] = Field(min_length=1)
    validation: tuple[str, ...]
    test: tuple[str, ...]
    unused: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()

    @property
    def split(self) -> Split:
        """The names, sorted."""
        return Split(*(tuple(sorted(part)) for part in (self.train, self.validation, self.test, self.unused)))


def choose_split(cases: Sequence[Case], config: SplitConfig) -> Split:
    """The split that the configuration names a file of, or else a new one.

    Raises:
        DatasetError: as `read_split` and `make_split`.
    """
    return make_split(cases, config) if config.file is None else read_split(config.file, cases)


def make_split(cases: Sequence[Case], config: SplitConfig) -> Split:
    """Divide patients; the result depends on their names and the settings, not on the order of the cases.

    Raises:
        DatasetError: there are fewer patients than parts or folds.
    """
    patients = sorted({case.patient for case in cases})
    draw = {"fractions": _draw_fractions, "folds": _draw_fold, "blocks": _draw_fractions}[config.kind]
    validation, test = draw(_in_order(patients, config), config)
    parts = (set(patients) - validation - test, validation, test)
    return Split(*(tuple(sorted(case.name for case in cases if case.patient in part)) for part in parts))


def write_split(path: Path, split: Split, config: SplitConfig, *, unlabelled: tuple[str, ...] = ()) -> None:
    """Write a split and how it was made, whole or not at all; cases are named, patients are not.

    Args:
        path: the file.
        split: names of the cases.
        config: how it was made.
        unlabelled: names of the scans without a mask that are trained on as well.
    """
    further = {"unlabelled": unlabelled} if unlabelled else {}
    write_json(path, {"format_version": FORMAT_VERSION, "settings": _settings(config), **asdict(split), **further})


def read_unlabelled(path: Path) -> tuple[str, ...]:
    """The names of the scans without a mask that a split's file says are trained on as well."""
    return _read_content(path).unlabelled


def read_split(path: Path, cases: Sequence[Case]) -> Split:
    """Read a split and compare it with the cases of the data set.

    Raises:
        DatasetError: the file is no split, or everything in which it does not fit the cases: unknown names, cases
            that are named twice or not at all, patients in more than one part.
    """
    split = _read_content(path).split
    problems = [
        *_unknown_cases(split, cases),
        *_repeated_cases(split),
        *_unnamed_cases(split, cases),
        *_divided_patients(split, cases),
    ]
    if problems:
        raise DatasetError(
            f"a split in {path} that names each case once and keeps the cases of a patient together",
            "; ".join(problems),
            'Correct the file ("unused" lists cases to leave out), or drop data.split.file to have a new split made.',
        )
    return split


def _in_order(patients: list[str], config: SplitConfig) -> list[str]:
    """At random; for blocks from the last name to the first, numbers in names by their value."""
    if config.kind == "blocks":
        return sorted(patients, key=_natural, reverse=True)
    return [patients[index] for index in np.random.default_rng(config.seed).permutation(len(patients))]


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which slice_9 comes before slice_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _draw_fractions(patients: list[str], config: SplitConfig) -> tuple[set[str], set[str]]:
    """Each share rounded, but at least one patient where it is above 0, and one left to train on."""
    needed = 1 + (config.validation > 0) + (config.test > 0)
    _check_enough(
        patients,
        needed,
        "Add cases, correct data.patient_pattern, or set data.split.validation or data.split.test to 0.",
    )
    reserved = 1 + (config.test > 0)
    validation = min(_share(config.validation, len(patients)), len(patients) - reserved)
    test = min(_share(config.test, len(patients)), len(patients) - 1 - validation)
    return set(patients[:validation]), set(patients[validation : validation + test])


def _draw_fold(patients: list[str], config: SplitConfig) -> tuple[set[str], set[str]]:
    """Each patient is validated on in exactly one fold; the first folds have one more where it does not come out."""
    _check_enough(patients, config.folds, "Add cases, or lower data.split.folds.")
    return set(patients[config.fold :: config.folds]), set()


def _share(fraction: float, count: int) -> int:
    return max(1, int(fraction * count + 0.5)) if fraction > 0 else 0


def _check_enough(patients: list[str], needed: int, remedy: str) -> None:
    if len(patients) < needed:
        raise DatasetError(f"{count_of(needed, 'patient')} or more to divide", str(len(patients)), remedy)


def _settings(config: SplitConfig) -> dict[str, Any]:
    """The settings that the division depends on."""
    if config.file is not None:
        return {"kind": "file", "seed": None}
    used = {
        "fractions": {"seed", "validation", "test"},
        "folds": {"seed", "folds", "fold"},
        "blocks": {"validation", "test"},
    }
    return config.model_dump(mode="json", include={"kind", *used[config.kind]})


def _read_content(path: Path) -> SplitFile:
    try:
        return validate(SplitFile, read_json(path), str(path))
    except ConfigError as error:
        raise DatasetError(
            f"a split with format_version {FORMAT_VERSION} and lists of case names under train, validation and test",
            f"{path} with {error.found.strip()}",
            "Correct the file, or drop data.split.file to have a new split made.",
        ) from error


def _unknown_cases(split: Split, cases: Sequence[Case]) -> list[str]:
    known = {case.name for case in cases}
    unknown = sorted({name for names in split.parts.values() for name in names} - known)
    return [f"{count_of(len(unknown), 'name')} that no case has: {enumerate_names(unknown)}"] if unknown else []


def _repeated_cases(split: Split) -> list[str]:
    counts = Counter(name for names in split.parts.values() for name in names)
    repeated = sorted(name for name, count in counts.items() if count > 1)
    return [f"{count_of(len(repeated), 'case')} named more than once: {enumerate_names(repeated)}"] if repeated else []


def _unnamed_cases(split: Split, cases: Sequence[Case]) -> list[str]:
    named = {name for names in split.parts.values() for name in names}
    unnamed = sorted(case.name for case in cases if case.name not in named)
    return [f"{count_of(len(unnamed), 'case')} that it does not name: {enumerate_names(unnamed)}"] if unnamed else []


def _divided_patients(split: Split, cases: Sequence[Case]) -> list[str]:
    """Cases of patients that lie in several parts, by the cases' names; a case named twice is reported elsewhere."""
    part_of = {name: part for part, names in split.parts.items() if part != "unused" for name in names}
    by_patient: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        if case.name in part_of:
            by_patient[case.patient].append(case.name)
    divided = [names for names in by_patient.values() if len({part_of[name] for name in names}) > 1]
    described = sorted(" + ".join(f"{name} ({part_of[name]})" for name in sorted(names)) for names in divided)
    return (
        [f"{count_of(len(divided), 'patient')} in more than one part: {enumerate_names(described)}"] if divided else []
    )
