"""From a data section to checked cases and a split: what `check`, `train` and `evaluate` begin with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.checks import (
    CaseFacts,
    Finding,
    Inspect,
    Inspection,
    check_split,
    dataset_findings,
    format_findings,
    inspect_dataset,
)
from pipeline.commands.progress import ProgressLine
from pipeline.commands.run_folder import RunFolder
from pipeline.config.data import SplitConfig
from pipeline.config.inference import InferenceConfig
from pipeline.config.load import Config
from pipeline.errors import DatasetError
from pipeline.files import write_text
from pipeline.inference.readers import run_isolated
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.discover import discover
from pipeline.layouts.split import Split, choose_split
from pipeline.manifest import Part

SHOWN_PROBLEMS = 20
"""Problems that an error message spells out; the report on disk has all."""


@dataclass(frozen=True)
class CheckedDataset:
    """A data set without errors, and its split.

    Attributes:
        dataset: the cases.
        split: their parts.
        split_config: how the split was made.
        hashes: content hash of each case's scan, by case name.
        findings: what is worth a look, none of it an error.
    """

    dataset: Dataset
    split: Split
    split_config: SplitConfig
    hashes: dict[str, str]
    findings: list[Finding]

    def cases(self, part: Part) -> list[Case]:
        """The cases of a part, by name."""
        names = set(self.split.parts[part])
        return [case for case in self.dataset.cases if case.name in names]

    def parts_by_hash(self) -> dict[str, Part]:
        """The part of each case, by content hash: names can name a patient, and change; content does not."""
        parts: tuple[Part, ...] = ("train", "validation", "test")
        return {self.hashes[name]: part for part in parts for name in self.split.parts[part]}


def check_for_training(config: Config, folder: RunFolder, progress: ProgressLine) -> CheckedDataset:
    """Discover, read and check every case, and divide them.

    Args:
        config: the experiment.
        folder: receives the report of all findings; a resumed run finds its split there, a new run has none yet.
        progress: where progress is shown.

    Raises:
        DatasetError: the data set has errors; the message holds the report, cut where it is long.
    """
    dataset = discover(config.data)
    facts = read_facts(dataset, config.inference, progress)
    findings = dataset_findings(dataset, facts)
    refuse_errors(findings, dataset, folder.checks)
    split_config = config.data.split
    if folder.split.exists():
        split_config = split_config.model_copy(update={"file": folder.split})
    split = choose_split(dataset.cases, split_config)
    hashes = {each.case: each.content_hash for each in facts if each.content_hash is not None}
    own = {case.name for case in dataset.cases}
    hashes = {name: value for name, value in hashes.items() if name in own}
    refuse_errors([*check_split(dataset, split, hashes), *findings], dataset, folder.checks)
    return CheckedDataset(dataset, split, config.data.split, hashes, findings)


def read_facts(dataset: Dataset, config: InferenceConfig, progress: ProgressLine) -> list[CaseFacts]:
    """Read every case with its voxels, in reader processes that a damaged file can only take with it."""

    def isolated(inspect: Inspect, jobs: Sequence[Inspection]) -> Iterator[CaseFacts | Exception]:
        outcomes = run_isolated(
            inspect,
            jobs,
            workers=config.readers,
            deadline_seconds=config.read_deadline_seconds,
            memory_gb=config.reader_memory_gb,
        )
        for index, outcome in enumerate(outcomes, start=1):
            progress.update(index / len(jobs), f"reading case {index} of {len(jobs)}")
            yield outcome.value if outcome.value is not None else RuntimeError(outcome.error)

    return inspect_dataset(dataset, deep=True, map_cases=isolated)


def refuse_errors(findings: list[Finding], dataset: Dataset, report: Path) -> None:
    """Write the whole report, and stop where a finding is an error.

    Raises:
        DatasetError: with the report, cut where it is long.
    """
    write_text(report, format_findings(findings) + "\n")
    if any(finding.severity == "error" for finding in findings):
        shown = format_findings(findings, shown=SHOWN_PROBLEMS)
        raise DatasetError(
            f"a data set without errors in {dataset.root}",
            f"\n\n{shown}\n\n",
            f"Mend these first; {report} has them all.",
        )
