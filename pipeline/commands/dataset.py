"""From a data section to checked cases and a split: what `check`, `train` and `evaluate` begin with."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.checks.case import CaseFacts, Inspection, inspect_case
from pipeline.checks.dataset import dataset_findings, inspections, name_labels
from pipeline.checks.findings import Finding, format_findings
from pipeline.commands.progress import ProgressLine
from pipeline.commands.reading import read_all
from pipeline.commands.run_folder import RunFolder
from pipeline.config.augmentation import AugmentationConfig, check_channels
from pipeline.config.data import SplitConfig
from pipeline.config.inference import InferenceConfig
from pipeline.config.load import Config
from pipeline.config.pretraining import PretrainingConfig
from pipeline.errors import ConfigError, DatasetError
from pipeline.files import write_text
from pipeline.inference.readers import Outcome
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.discover import discover, discover_scans
from pipeline.layouts.sides import pairs_by_side
from pipeline.layouts.split import Split, choose_split, read_unlabelled
from pipeline.manifest import Part
from pipeline.postprocessing.components import check_keep_largest, check_names
from pipeline.postprocessing.instances import check_watershed
from pipeline.wording import enumerate_names

log = logging.getLogger(__name__)
SHOWN_PROBLEMS = 20
"""Problems that an error message spells out; the report on disk has all."""
LEFT_RIGHT = 0
"""The axis along which mirroring exchanges left and right; settings give axes in RAS order."""


@dataclass(frozen=True)
class CheckedDataset:
    """A data set without errors, and its split.

    Attributes:
        dataset: the cases.
        split: their parts.
        split_config: how the split was made.
        hashes: content hash of each case's scan, by case name.
        findings: what is worth a look, none of it an error.
        unlabelled: names of scans without a mask that are trained on beside those of the split.
    """

    dataset: Dataset
    split: Split
    split_config: SplitConfig
    hashes: dict[str, str]
    findings: list[Finding]
    unlabelled: tuple[str, ...] = ()

    def names(self, part: Part) -> tuple[str, ...]:
        """The names of the cases of a part; scans without a mask are trained on."""
        return (*self.split.parts[part], *(self.unlabelled if part == "train" else ()))

    def cases(self, part: Part) -> list[Case]:
        """The cases of a part, by name."""
        names = set(self.names(part))
        return [case for case in self.dataset.cases if case.name in names]

    def parts_by_hash(self) -> dict[str, Part]:
        """The part of each case, by content hash: names can name a patient, and change; content does not."""
        last_counts: tuple[Part, ...] = ("unused", "test", "validation", "train")  # where two cases have one content
        return {self.hashes[name]: part for part in last_counts for name in self.names(part)}


def check_for_training(config: Config, folder: RunFolder, progress: ProgressLine) -> CheckedDataset:
    """Discover, read and check every case, and divide them.

    Args:
        config: the experiment.
        folder: receives the report of all findings; a resumed run finds its split there, a new run has none yet.
        progress: where progress is shown.

    Raises:
        ConfigError: left and right are labels of their own, and training would mirror one into the other; or
            inference.keep_largest, .watershed or .instance_files, or evaluation.walls, names what is no label.
        DatasetError: the data set has errors; the message holds the report, cut where it is long.
    """
    dataset = discover(config.data)
    if dataset.declared:
        _check_settings(dataset, config)  # before the minutes that reading takes
    facts = read_facts(inspections(dataset, deep=True), config.inference, progress)
    dataset = name_labels(dataset, facts)
    findings = dataset_findings(dataset, facts, dimensions=config.network.dimensions)
    refuse_errors(findings, dataset, folder.checks)
    _check_settings(dataset, config)
    split = _choose(dataset.cases, config.data.split, folder)
    own = {case.name for case in dataset.cases}
    hashes = {each.case: each.content_hash for each in facts if each.case in own and each.content_hash is not None}
    return CheckedDataset(dataset, split, config.data.split, hashes, findings)


def check_scans(config: PretrainingConfig, folder: RunFolder, progress: ProgressLine) -> CheckedDataset:
    """Discover, read and check every scan, and divide those that have a mask as `check_for_training` does.

    Scans without a mask, beside others that have one, are trained on, unless they are of a patient whom this run, or a
    U-Net with the same split, validates or tests on, or cannot be used; then they are left out.

    Args:
        config: the experiment.
        folder: as for `check_for_training`.
        progress: where progress is shown.

    Raises:
        DatasetError: a scan that is to be divided cannot be read; the message holds the report.
    """
    dataset = discover_scans(config.data)
    check_channels(len(dataset.modalities), config.augmentation)
    facts = read_facts(inspections(dataset, deep=True), config.inference, progress)
    findings = dataset_findings(dataset, facts, dimensions=config.network.dimensions)
    refuse_errors(findings, dataset, folder.checks)
    hashes = {each.case: each.content_hash for each in facts if each.content_hash is not None}
    split = _choose(dataset.cases, config.data.split, folder)
    names = read_unlabelled(folder.split) if folder.split.exists() else _further(dataset, split, facts)
    further = tuple(case for case in dataset.unlabelled if case.name in names)
    complete = replace(dataset, cases=(*dataset.cases, *further), unlabelled=())
    return CheckedDataset(complete, split, config.data.split, hashes, findings, tuple(names))


def _choose(cases: tuple[Case, ...], config: SplitConfig, folder: RunFolder) -> Split:
    """The split of the run's folder, where a resumed run finds one, or else a new one."""
    own = config.model_copy(update={"file": folder.split}) if folder.split.exists() else config
    return choose_split(cases, own)


def _further(dataset: Dataset, split: Split, facts: Sequence[CaseFacts]) -> tuple[str, ...]:
    """The scans without a mask that can be learnt from: sound ones, of nobody on whom a network is judged."""
    judged = {*split.validation, *split.test}
    kept_away = {case.patient for case in dataset.cases if case.name in judged}
    unsound = {each.case for each in facts if any(finding.severity == "error" for finding in each.findings)}
    wanted = [case.name for case in dataset.unlabelled if case.patient not in kept_away and case.name not in unsound]
    if len(wanted) < len(dataset.unlabelled):
        log.warning(
            "%d of %d scans without a mask are left out: not to be used, or of patients to validate or test on",
            len(dataset.unlabelled) - len(wanted),
            len(dataset.unlabelled),
        )
    return tuple(sorted(wanted))


def _check_settings(dataset: Dataset, config: Config) -> None:
    labels = dataset.labels
    check_channels(len(dataset.modalities), config.augmentation)
    check_mirroring(labels, config.augmentation)
    check_keep_largest(config.inference.keep_largest, labels)
    check_watershed(config.inference, labels)
    check_names("inference.instance_files", config.inference.instance_files, labels)
    check_names("data.codes", tuple(config.data.codes), labels)
    check_names("data.categories", tuple(config.data.categories), labels)
    check_names("evaluation.walls", config.evaluation.walls, labels)


def check_mirroring(labels: dict[str, int], config: AugmentationConfig) -> None:
    """Refuse to mirror left and right where they are labels of their own: a mirrored left kidney is a right one.

    The ventricles of the heart, unlike those of the brain, differ in more than their side: a mirrored left one is still
    a left one. Only the user can tell, by `sides_by_appearance`. Test-time mirroring follows, because a model mirrors
    no axis that its training did not.

    Raises:
        ConfigError: names the labels.
    """
    pairs = pairs_by_side(labels)
    if pairs and LEFT_RIGHT in config.mirror_axes and not config.sides_by_appearance:
        named = enumerate_names(f"{left} and {right}" for left, right in pairs)
        others = [axis for axis in config.mirror_axes if axis != LEFT_RIGHT]
        raise ConfigError(
            f"no mirroring of left and right (axis {LEFT_RIGHT}) where labels differ by side",
            f"augmentation.mirror_axes {list(config.mirror_axes)} with the labels {named}",
            f"Set augmentation.mirror_axes={others}; or, where left and right differ in more than their side, as the "
            "ventricles of the heart do, augmentation.sides_by_appearance=true.",
        )


def read_facts(jobs: Sequence[Inspection], config: InferenceConfig, progress: ProgressLine) -> list[CaseFacts]:
    """Look at cases in reader processes; what a damaged file does to one becomes a finding of its case."""
    outcomes = read_all(inspect_case, jobs, "reading", config=config, progress=progress)
    return [_facts(outcome) for outcome in outcomes]


def _facts(outcome: Outcome[Inspection, CaseFacts]) -> CaseFacts:
    if outcome.value is not None:
        return outcome.value
    assert outcome.error is not None
    name = outcome.item.case.name
    return CaseFacts(name, (Finding.of(name, outcome.error),))


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
