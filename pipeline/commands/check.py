"""``medseg check``: what is wrong with a data set or a folder of scans, before anything expensive."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pipeline.checks import Finding, dataset_findings, inspect_dataset
from pipeline.commands.dataset import read_facts
from pipeline.commands.progress import progress_line
from pipeline.config.data import DataConfig
from pipeline.config.inference import InferenceConfig
from pipeline.errors import ScanError
from pipeline.formats import nifti
from pipeline.inference.batch import InputFile, find_inputs
from pipeline.inference.readers import run_isolated
from pipeline.layouts.discover import discover
from pipeline.layouts.wording import count_of
from pipeline.manifest import Manifest


def check(path: Path, manifest: Manifest | None, *, deep: bool, console: Console) -> list[Finding]:
    """Check a data set or, where the folder is laid out as none, a scan or a folder of scans.

    Args:
        path: the folder or file.
        manifest: a model that the scans should suit.
        deep: also read the voxels.
        console: where progress is shown.

    Raises:
        DatasetError: there is neither a data set nor a scan.
    """
    if path.is_dir() and _looks_like_dataset(path):
        return _check_dataset(path, deep=deep, console=console)
    return _check_scans(find_inputs(path), manifest, deep=deep)


def _looks_like_dataset(path: Path) -> bool:
    return (path / "dataset.json").exists() or (path / "images").is_dir()


def _check_dataset(path: Path, *, deep: bool, console: Console) -> list[Finding]:
    dataset = discover(DataConfig(root=path))
    if not deep:
        return dataset_findings(dataset, inspect_dataset(dataset, deep=False))
    with progress_line(console, "reading") as progress:
        return dataset_findings(dataset, read_facts(dataset, InferenceConfig(), progress))


def _check_scans(inputs: Sequence[InputFile], manifest: Manifest | None, *, deep: bool) -> list[Finding]:
    scans = [entry for entry in inputs if entry.is_scan]
    findings = [_problem(entry, entry.problem) for entry in scans if entry.problem is not None]
    readable = [entry for entry in scans if entry.problem is None]
    findings += [finding for entry in readable for finding in _check_header(entry, manifest)]
    if deep:
        findings += _check_voxels(readable)
    return sorted(set(findings), key=lambda finding: finding.case)


def _check_header(entry: InputFile, manifest: Manifest | None) -> list[Finding]:
    try:
        header = nifti.read_header(entry.path)
    except ScanError as error:
        return [Finding("error", entry.case, error.expected, error.found, error.remedy)]
    if manifest is None or header.channels == len(manifest.modalities):
        return []
    wanted = f"{count_of(len(manifest.modalities), 'channel')}, as the model {manifest.name} has"
    return [Finding("error", entry.case, wanted, str(header.channels), "Give the kind of scan that it was trained on.")]


def _check_voxels(entries: Sequence[InputFile]) -> list[Finding]:
    config = InferenceConfig()
    outcomes = run_isolated(
        _read,
        [entry.path for entry in entries],
        workers=config.readers,
        deadline_seconds=config.read_deadline_seconds,
        memory_gb=config.reader_memory_gb,
    )
    found = []
    for entry, outcome in zip(entries, outcomes, strict=True):
        if outcome.error is not None:
            found.append(_problem(entry, outcome.error))
        elif outcome.value is not None:
            found.append(Finding("error", entry.case, *outcome.value))
    return found


def _read(path: Path) -> tuple[str, str, str] | None:
    """What is wrong with a scan's voxels; it travels between processes as plain words."""
    try:
        nifti.read_scan(path)
    except ScanError as error:
        return error.expected, error.found, error.remedy
    return None


def _problem(entry: InputFile, problem: str) -> Finding:
    return Finding("error", entry.case, "a scan that can be read", problem, "See its message.")
