"""Which cases of a data set `evaluate` scores, and whether the data set means what the model means."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pipeline.config.data import DataConfig
from pipeline.config.load import load_config
from pipeline.errors import DatasetError
from pipeline.evaluation.scores import FailedCase
from pipeline.layouts import patterns
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.dataset_json import FILE_NAME
from pipeline.manifest import Manifest, Part

CONFIGURATIONS = (".yaml", ".yml")
REMEDY = "Take a model of these structures, or correct data.labels."
SplitName = Literal["test", "val", "all"]
UNKNOWN = "unknown"
"""Stands beside the parts of a model's split for cases that are in none."""
PARTS = {"test": "test", "val": "validation"}
OWN_SHARE = 0.9
"""Share of a data set's cases that a model knows from which on the data set is its own."""


@dataclass(frozen=True)
class Selection:
    """Which cases are scored.

    Attributes:
        part: the part of the model's split that they are, or all.
        cases: the cases.
        excluded: how many of them were left out because the model was trained on their content.
        left_out: how many cases are not scored, by their part of the model's split, or unknown.
        unknown: how many cases of the data set the model's training did not know, scored or not.
        failed: cases that could not be read, so that nobody knows which part they are.
    """

    part: SplitName
    cases: list[Case]
    excluded: int
    left_out: dict[str, int]
    unknown: int
    failed: list[FailedCase]


def data_of(path: Path, manifest: Manifest) -> DataConfig:
    """How a data set is arranged that is given beside a model.

    Args:
        path: its folder, which is arranged as the model's own was where its files fit, else however it is; or a
            configuration that says it.
        manifest: the model.

    Raises:
        ConfigError: the configuration cannot be used.
        DatasetError: it names other labels than the model.
    """
    if path.suffix.lower() in CONFIGURATIONS:
        data = load_config(path, []).data
        if data.labels and data.labels != manifest.labels:
            found = f"{_pairs(data.labels)} in {path.name}"
            raise DatasetError(f"the labels of the model ({_pairs(manifest.labels)})", found, REMEDY)
        return data.model_copy(update={"labels": manifest.labels, "modalities": manifest.modalities})
    base = DataConfig(root=path, labels=manifest.labels, modalities=manifest.modalities, mask=manifest.mask)
    return base.model_copy(update={"files": manifest.files}) if _has_files(path, manifest.files.images) else base


def is_arranged_as(root: Path, manifest: Manifest) -> bool:
    """Whether a folder has images and masks of the names of the model's own data set, where a setting gave these."""
    return _has_files(root, (*manifest.files.images, *manifest.files.masks))


def _has_files(root: Path, wanted: tuple[str, ...]) -> bool:
    return bool(wanted) and root.is_dir() and all(patterns.find(root, pattern) for pattern in wanted)


def check_declaration(dataset: Dataset, manifest: Manifest) -> None:
    """Compare the labels and modalities that a data set's dataset.json names with the model's.

    A name or a value that differs may be another structure, and a score of it worth nothing. What the data set that
    the model was trained on named passes too, because the settings of the training may have renamed it.

    Raises:
        DatasetError: they differ; a data set that names none passes.
    """
    labels, modalities, trained = dataset.own_labels, dataset.own_modalities, manifest.provenance
    if labels and labels not in (manifest.labels, trained.dataset_labels):
        raise _foreign("labels", expected=_pairs(manifest.labels), found=_pairs(labels), dataset=dataset)
    if modalities and modalities not in (manifest.modalities, trained.dataset_modalities):
        expected, found = ", ".join(manifest.modalities), ", ".join(modalities)
        raise _foreign("modalities", expected=expected, found=found, dataset=dataset)


def select_cases(
    dataset: Dataset, outcomes: dict[str, str | FailedCase], manifest: Manifest, *, part: SplitName | None
) -> Selection:
    """Choose the cases by their content: a case that the model was trained on is never scored.

    Args:
        dataset: the data set.
        outcomes: content hash of each case's scan by the case's name, or why it could not be read.
        manifest: the model.
        part: the part to score. By default test where the model knows nearly all of the cases, else all.

    Raises:
        DatasetError: no case is left.
    """
    failed = [outcome for outcome in outcomes.values() if isinstance(outcome, FailedCase)]
    known: dict[str, str] = {
        name: manifest.parts.get(outcome, UNKNOWN) for name, outcome in outcomes.items() if isinstance(outcome, str)
    }
    chosen = part if part is not None else _default_part(known)
    cases = [case for case in dataset.cases if case.name in known and _is_scored(known[case.name], chosen)]
    left_out = Counter(each for each in known.values() if not _is_scored(each, chosen))
    if not cases and not failed:
        raise _nothing_left(dataset, chosen, left_out)
    return Selection(
        part=chosen,
        cases=cases,
        excluded=left_out["train"] if chosen == "all" else 0,
        left_out={each: left_out[each] for each in (*get_args(Part), UNKNOWN)},
        unknown=sum(each == UNKNOWN for each in known.values()),
        failed=failed,
    )


def _default_part(known: dict[str, str]) -> SplitName:
    in_split = sum(part != UNKNOWN for part in known.values())
    return "test" if known and in_split >= OWN_SHARE * len(known) else "all"


def _is_scored(part: str, chosen: SplitName) -> bool:
    return part != "train" if chosen == "all" else part == PARTS[chosen]


def _nothing_left(dataset: Dataset, chosen: SplitName, left_out: Counter[str]) -> DatasetError:
    found = ", ".join(f"{count} {part}" for part, count in left_out.items())
    remedies = {
        "test": "--split test scores its test cases.",
        "validation": "--split val scores its validation cases.",
        "unused": "--split all scores those that training left unused.",
        UNKNOWN: "--split all scores those that the model does not know.",
    }
    working = [remedy for part, remedy in remedies.items() if left_out[part]]
    return DatasetError(
        f"cases to score in {dataset.root} (--split {chosen})",
        f"none; by the model's split they are {found}" if found else "none",
        working[0] if working else "Give cases that the model was not trained on.",
    )


def _foreign(what: str, *, expected: str, found: str, dataset: Dataset) -> DatasetError:
    return DatasetError(
        f"the model's {what} ({expected})",
        f"{found} in {dataset.root / FILE_NAME}",
        f"Where they mean the same, write the model's names into {FILE_NAME}; else convert the data, or take a model "
        "that was trained for them.",
    )


def _pairs(labels: dict[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in labels.items())
