"""``medseg predict --dry-run``: what would become of each scan, from its header, and without torch."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from pipeline.checks.case import CaseFacts
from pipeline.checks.findings import Finding
from pipeline.commands.prediction_plan import Planned, plan_all
from pipeline.commands.prediction_record import PredictionRecord
from pipeline.commands.scan_checks import inspect_scans, memory_gb, model_findings
from pipeline.config.inference import InferenceConfig
from pipeline.inference.archives import scratch_folder
from pipeline.inference.channels import channels_of, find_cases
from pipeline.manifest import Manifest


@dataclass(frozen=True)
class Expected:
    """What would become of an input.

    Attributes:
        item: as it is planned; failed where a finding says that it would.
        shape: of a scan that would be done, in voxels; None where its header cannot be read.
        memory_gb: that it would take in the main process.
    """

    item: Planned
    shape: tuple[int, ...] | None = None
    memory_gb: float | None = None


@dataclass(frozen=True)
class Preflight:
    """What would become of a folder, and what speaks against it."""

    inputs: list[Expected]
    findings: list[Finding]


def preflight(
    manifest: Manifest, source: Path, output: Path, *, config: InferenceConfig, overwrite: bool, console: Console
) -> Preflight:
    """What `predict` would do, without doing it: nothing is written, and of scans, headers alone are read.

    Args:
        manifest: of the model.
        source: a scan or a folder of them.
        output: where results would go.
        config: how the model would be run.
        overwrite: as for `predict`.
        console: where progress is shown.

    Raises:
        DatasetError: there is no scan at ``source``, or it is ``output`` as well.
    """
    model = manifest.model_copy(update={"inference": config})
    record = PredictionRecord(output, manifest, config)
    with scratch_folder() as scratch:
        inputs = find_cases(source, output, channels_of(manifest), config=config, scratch=scratch)
        plan = plan_all(inputs, record, overwrite=overwrite)
        facts = inspect_scans([item.entry for item in plan if item.is_to_do], model, deep=False, console=console)
    findings = [finding for each in facts for finding in each.findings] + model_findings(facts, model)
    failing = {finding.case for finding in findings if finding.severity == "error"}
    known = {each.case: each for each in facts}
    return Preflight([_expected(item, known, failing, manifest=model) for item in plan], findings)


def _expected(item: Planned, known: Mapping[str, CaseFacts], failing: Set[str], *, manifest: Manifest) -> Expected:
    case = item.entry.case
    if not item.is_to_do:
        return Expected(item)
    return Expected(item.failed("") if case in failing else item, known[case].shape, memory_gb(known[case], manifest))
