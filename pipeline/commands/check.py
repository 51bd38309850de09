"""``medseg check``: what is wrong with a data set or a folder of scans, before anything expensive."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pipeline.checks.case import CaseFacts
from pipeline.checks.dataset import dataset_findings, inspections, name_labels
from pipeline.checks.findings import Finding
from pipeline.commands.overview import show_overview, show_scans
from pipeline.commands.scan_checks import inspect_scans, model_findings, problems_of, read_inspections
from pipeline.commands.selection import CONFIGURATIONS, check_declaration, data_of, is_arranged_as
from pipeline.config.data import DataConfig
from pipeline.config.load import load_config
from pipeline.errors import DatasetError
from pipeline.inference.archives import scratch_folder
from pipeline.inference.batch import InputFile
from pipeline.inference.channels import ANY_FILE, channels_of, find_cases
from pipeline.layouts.dataset import Dataset
from pipeline.layouts.discover import discover, recognise
from pipeline.manifest import Manifest
from pipeline.wording import count_of

SHEET_ENDING = ".png"


def check(
    path: Path,
    manifest: Manifest | None,
    *,
    deep: bool,
    console: Console,
    shown: Console | None = None,
    sheet: Path | None = None,
) -> list[Finding]:
    """Check a data set or, where the folder is laid out as none, a scan or a folder of scans.

    Args:
        path: the folder or file, or a configuration, whose data set is checked as it says.
        manifest: a model that the scans, and the labels of a data set, should suit.
        deep: also read the voxels.
        console: where progress is shown, and on how many scans the model can be run.
        shown: where it is said what a data set, or a folder of scans, holds; None says it nowhere.
        sheet: a .png file for pictures of a data set's cases; None draws none.

    Raises:
        ConfigError: the configuration cannot be used.
        DatasetError: there is neither a data set nor a scan.
    """
    data, dimensions = _data_config(path, manifest)
    _check_sheet(sheet, path, data)
    if data is not None:
        dataset = discover(data)
        _spare_files(dataset, sheet)
        jobs = inspections(dataset, deep=deep, declared=manifest is None)  # or held against the model
        facts = read_inspections(jobs, manifest, console)
        dataset = name_labels(dataset, facts)
        if shown is not None:
            show_overview(dataset, facts, shown)
        findings = dataset_findings(dataset, facts, dimensions=dimensions)
        if manifest is not None:
            findings = [*_against(dataset, facts, manifest, deep=deep, console=console), *findings]
        return findings if sheet is None else [*findings, *_draw(dataset, sheet, shown, console=console)]
    channels, config = (ANY_FILE, None) if manifest is None else (channels_of(manifest), manifest.inference)
    with scratch_folder() as scratch:
        inputs = find_cases(path, None, channels, config=config, scratch=scratch)
        return _check_scans(inputs, manifest, deep=deep, console=console, shown=shown)


def _data_config(path: Path, manifest: Manifest | None) -> tuple[DataConfig | None, int | None]:
    """The data set that is meant, None for scans; and the axes of the network that a configuration would train."""
    is_config = path.suffix.lower() in CONFIGURATIONS
    is_set = is_config or (path.is_dir() and bool(recognise(path)))
    if manifest is not None and (is_set or is_arranged_as(path, manifest)):
        return data_of(path, manifest), None
    if is_config:
        config = load_config(path, [])
        return config.data, config.network.dimensions
    return (DataConfig(root=path) if is_set else None), None


def _check_sheet(sheet: Path | None, path: Path, data: DataConfig | None) -> None:
    """Refuse pictures that cannot be drawn or written, before anything is read."""
    if sheet is not None and sheet.suffix.lower() != SHEET_ENDING:
        name = sheet.with_suffix(SHEET_ENDING).name
        raise DatasetError(f"a file for the pictures that ends in {SHEET_ENDING}", str(sheet), f"Call it {name}.")
    if sheet is not None and data is None:
        raise DatasetError("a data set, of which --sheet draws cases", f"{path}, which is none", "Leave --sheet out.")


def _spare_files(dataset: Dataset, sheet: Path | None) -> None:
    if sheet is not None and sheet.resolve() in {path.resolve() for path in dataset.files()}:
        found = f"a file of the data set: {sheet}"
        raise DatasetError("a new file for the pictures", found, "Give another path to --sheet.")


def _draw(dataset: Dataset, sheet: Path, shown: Console | None, *, console: Console) -> list[Finding]:
    """Draw the cases; where none can be, that is one more finding."""
    from pipeline.commands.contact_sheet import draw_contact_sheet  # Pillow: not before there is something to draw

    try:
        count = draw_contact_sheet(dataset, sheet, console)
    except DatasetError as error:
        return [Finding.of("", error)]
    if shown is not None:
        shown.print(f"{'pictures':<12} {count} in {sheet}", markup=False, highlight=False, soft_wrap=True)
    return []


def _against(
    dataset: Dataset, facts: Sequence[CaseFacts], manifest: Manifest, *, deep: bool, console: Console
) -> list[Finding]:
    """What keeps a model from being run and scored on a data set."""
    _say_suited(facts, manifest, len(facts), deep=deep, console=console)
    return [*_declaration(dataset, manifest), *model_findings(facts, manifest)]


def _check_scans(
    inputs: Sequence[InputFile], manifest: Manifest | None, *, deep: bool, console: Console, shown: Console | None
) -> list[Finding]:
    scans = [entry for entry in inputs if entry.is_scan]
    facts = inspect_scans([entry for entry in scans if entry.problem is None], manifest, deep=deep, console=console)
    findings = problems_of(scans) + [finding for each in facts for finding in each.findings]
    if manifest is not None:
        _say_suited(facts, manifest, len(scans), deep=deep, console=console)
        findings += model_findings(facts, manifest)
    elif shown is not None and len(scans) > 1:
        show_scans(inputs, facts, shown)
    return sorted(findings, key=lambda finding: finding.case)


def _say_suited(facts: Sequence[CaseFacts], manifest: Manifest, total: int, *, deep: bool, console: Console) -> None:
    kind = len(manifest.modalities), manifest.preprocessing.unit
    suited = sum((each.channels, each.unit) == kind and (each.content_hash is not None or not deep) for each in facts)
    console.print(f"The model {manifest.name} can be run on {suited} of {count_of(total, 'scan')}.", markup=False)


def _declaration(dataset: Dataset, manifest: Manifest) -> list[Finding]:
    """What dataset.json says otherwise than the model."""
    try:
        check_declaration(dataset, manifest)
    except DatasetError as error:
        return [Finding.of("", error)]
    return []
