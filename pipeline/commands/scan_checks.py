"""What can be said of scans before a model is run on them, for `check` and for `predict --dry-run`."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from rich.console import Console

from pipeline.checks.case import CaseFacts, Inspection
from pipeline.checks.findings import Finding
from pipeline.commands.dataset import read_facts
from pipeline.commands.progress import progress_line
from pipeline.config.inference import InferenceConfig
from pipeline.errors import UserError
from pipeline.inference.batch import InputFile
from pipeline.inference.footprint import estimate_gb
from pipeline.inference.memory import BYTES_PER_GB, available_bytes
from pipeline.inference.reading import FOREIGN_LABELS
from pipeline.layouts.dataset import Case
from pipeline.manifest import Manifest
from pipeline.preprocessing.labels import unknown_labels
from pipeline.preprocessing.prepare import foreign_unit
from pipeline.scan import ScanHeader
from pipeline.wording import count_of


def inspect_scans(
    entries: Sequence[InputFile], manifest: Manifest | None, *, deep: bool, console: Console
) -> list[CaseFacts]:
    """Look at scans in reader processes.

    Args:
        entries: scans without a problem so far.
        manifest: the model that they should suit.
        deep: also read the voxels.
        console: where progress is shown.
    """
    jobs = [Inspection(Case(each.case, each.paths, None, each.case), deep, volume=each.volume) for each in entries]
    return read_inspections(jobs, manifest, console)


def read_inspections(jobs: Sequence[Inspection], manifest: Manifest | None, console: Console) -> list[CaseFacts]:
    """Look at cases in reader processes, and whether their images suit a model, where there is one.

    The model that is sent along with each case leaves out the hashes of its training cases, which may be thousands.
    """
    model = None if manifest is None else manifest.model_copy(update={"parts": {}})
    with progress_line(console, "reading") as progress:
        return read_facts([replace(job, model=model) for job in jobs], InferenceConfig(), progress)


def problems_of(entries: Sequence[InputFile]) -> list[Finding]:
    """What is known of scans from their places and names, and from how their series go together."""
    findings = [_finding_of(entry, entry.problem) for entry in entries if entry.problem is not None]
    return findings + [_doubt_of(entry, doubt) for entry in entries for doubt in entry.doubts]


def model_findings(facts: Sequence[CaseFacts], manifest: Manifest) -> list[Finding]:
    """What keeps a model from being run on scans, or from being scored on their masks."""
    free_bytes = available_bytes()
    return [finding for each in facts for finding in _against(each, manifest, free_bytes)]


def memory_gb(facts: CaseFacts, manifest: Manifest) -> float | None:
    """What predicting a scan takes of the main process's memory; None where its header cannot be read."""
    if facts.shape is None or facts.channels is None or facts.unit is None:
        return None
    affine = np.diag([*(facts.spacing_mm or (1.0, 1.0, 1.0)), 1.0])
    return estimate_gb(ScanHeader(facts.shape, facts.channels, affine, facts.unit), manifest)


def _against(facts: CaseFacts, manifest: Manifest, free_bytes: int | None) -> list[Finding]:
    findings = []
    if facts.channels is not None and facts.channels != len(manifest.modalities):
        wanted = f"{count_of(len(manifest.modalities), 'channel')}, as the model {manifest.name} has"
        remedy = "Give the kind of scan that it was trained on."
        findings.append(Finding("error", facts.case, wanted, str(facts.channels), remedy))
    misfit = None if facts.unit is None else foreign_unit(facts.unit, manifest.preprocessing)
    problem = unknown_labels(facts.labels or frozenset(), manifest.label_values, FOREIGN_LABELS)
    findings += [Finding.of(facts.case, each) for each in (misfit, problem) if each is not None]
    needed_gb = memory_gb(facts, manifest)
    if misfit is None and needed_gb is not None and free_bytes is not None and needed_gb * BYTES_PER_GB > free_bytes:
        found = f"one that takes about {needed_gb:.1f} GB, where {free_bytes / BYTES_PER_GB:.1f} GB are free"
        remedy = "Take a machine with more memory, or crop the scan."
        findings.append(Finding("error", facts.case, "a scan that fits into memory", found, remedy))
    return findings


def _finding_of(entry: InputFile, problem: UserError) -> Finding:
    """A problem of a scan; a series of DICOM is named by its folder too."""
    return Finding.of(entry.case, problem, entry.shown if entry.volume is not None else "")


def _doubt_of(entry: InputFile, doubt: str) -> Finding:
    remedy = "Export the series again, or look at its mask twice."
    return Finding("warning", entry.case, "a series that is whole for certain", doubt, remedy, entry.shown)
