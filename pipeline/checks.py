"""Preflight: everything that is wrong with a data set, before hours are spent on it, and what to do about each thing.

Headers are read in seconds; a deep check reads the voxels as well. `inspect_case` looks at one case, in another process
where a damaged file can do no harm; the rest puts together what it found.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ScanError, UserError
from pipeline.formats import registry
from pipeline.geometry import misplaced_mask, ras_spacing_mm
from pipeline.layouts.case_files import read_field_of_view, read_header, read_image, read_labels
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.scan_files import case_name
from pipeline.preprocessing.labels import MAX_LABELS, unknown_labels
from pipeline.scan import ScanHeader, Unit
from pipeline.wording import count_of, enumerate_names, printable

Severity = Literal["error", "warning"]
Problem = tuple[Severity, str, str, str]
"""What findings of several cases have in common: severity, expected, found, remedy."""
T = TypeVar("T")
ODD_SPACING = 5.0
"""Factor from the usual spacing along an axis, above which it is worth a look."""
SHARED_NAMES = 0.2
"""Groups of cases with like names, a case: with fewer, names number the cases of a study, not those of patients."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        severity: an error stands in the way of training; a warning is worth a look.
        case: the case's name; empty where the data set as a whole is meant.
        expected: what the case should have, as a noun phrase.
        found: what it has instead.
        remedy: what to do about it, as an instruction.
        file: the file that it is about, where there is one; apart from ``found``, so that what many cases have in
            common reads as one finding.
    """

    severity: Severity
    case: str
    expected: str
    found: str
    remedy: str
    file: str = ""

    @classmethod
    def of(cls, case: str, error: UserError, file: str = "") -> Self:
        """An error that something raised, as a finding."""
        return cls("error", case, error.expected, error.found, error.remedy, file)


@dataclass(frozen=True)
class Inspection:
    """One case to look at; small enough to be sent to another process.

    Attributes:
        case: the case; without a mask, only its image is looked at.
        deep: whether to read the voxels.
        labels: the mask values that are declared; None where any will do.
        channels: how many channels its image should have; None where any number will do.
    """

    case: Case
    deep: bool
    labels: frozenset[int] | None = None
    channels: int | None = None


@dataclass(frozen=True)
class CaseFacts:
    """What looking at a case gave.

    Attributes:
        case: the case's name.
        findings: everything that is wrong with it alone.
        content_hash: of the image's values; None where they were not read.
        labels: mask values above 0; None where the mask was not read.
        channels: of the image; None where its header cannot be read.
        spacing_mm: of the image in RAS order; None as above, and where it has none.
        shape: of the image in voxels, in the file's own order; None as above.
        voxels: how many each label has, by its value; None where the mask was not read.
        unit: of the image; None where its header cannot be read.
    """

    case: str
    findings: tuple[Finding, ...] = ()
    content_hash: str | None = None
    labels: frozenset[int] | None = None
    channels: int | None = None
    spacing_mm: tuple[float, ...] | None = None
    shape: tuple[int, ...] | None = None
    voxels: dict[int, int] | None = None
    unit: Unit | None = None


def inspections(dataset: Dataset, *, deep: bool) -> list[Inspection]:
    """The cases of a data set to look at, with and without a mask."""
    labels = frozenset(dataset.labels.values()) if dataset.declared else None
    channels = len(dataset.modalities)
    return [Inspection(case, deep, labels, channels) for case in (*dataset.cases, *dataset.unlabelled)]


def name_labels(dataset: Dataset, facts: Sequence[CaseFacts]) -> Dataset:
    """The same data set, its labels called ``label_<value>`` after what its masks hold, where nothing names them."""
    if dataset.declared:
        return dataset
    return replace(dataset, labels={f"label_{value}": value for value in sorted(_held(facts))})


def dataset_findings(dataset: Dataset, facts: Sequence[CaseFacts]) -> list[Finding]:
    """The findings of all cases and those of the data set as a whole, sorted by severity and case.

    Args:
        dataset: as `name_labels` gives it.
        facts: what `inspect_case` found.
    """
    findings = [
        *_file_findings(dataset),
        *_label_findings(dataset, facts),
        *_case_findings(dataset, facts),
        *_duplicates(dataset, facts),
        *_odd_spacings(facts),
        *_mixed_units(facts),
        *_assumed_modalities(dataset),
        *_shared_names(dataset),
    ]
    return sorted(findings, key=lambda finding: (finding.severity, finding.case))


def _case_findings(dataset: Dataset, facts: Sequence[CaseFacts]) -> list[Finding]:
    """What is wrong with single cases; a scan that nothing is learnt from does not stand in the way of training."""
    unlabelled = {case.name for case in dataset.unlabelled}
    return [
        replace(finding, severity="warning") if each.case in unlabelled else finding
        for each in facts
        for finding in each.findings
    ]


def inspect_case(job: Inspection) -> CaseFacts:
    """Look at one case; all that can be said about it is said, not the first thing alone."""
    name, findings = job.case.name, list[Finding]()
    attempt = partial(_attempt, case=name, findings=findings)
    image = attempt(lambda: read_header(job.case.images), job.case.image)
    mask = attempt(partial(registry.read_header, job.case.mask), job.case.mask) if job.case.mask else None
    if image is not None:
        findings += _channel_findings(name, image, job.channels)
    if mask is not None:
        findings += _mask_header_findings(job.case, mask, image)
    content_hash = _content_hash(job.case, findings) if job.deep and image is not None else None
    voxels = _label_voxels(job, findings) if job.deep and mask is not None and _has_labels(job.case, mask) else None
    labels = None if voxels is None else frozenset(voxels)
    facts = CaseFacts(name, tuple(findings), content_hash, labels, voxels=voxels)
    if image is None:
        return facts
    spacing_mm = ras_spacing_mm(image.affine) if image.unit == "mm" else None
    return replace(facts, channels=image.channels, spacing_mm=spacing_mm, shape=image.shape, unit=image.unit)


def format_findings(findings: Iterable[Finding], shown: int | None = None) -> str:
    """A report to read: errors first, cases with the same finding together.

    Args:
        findings: in any order.
        shown: paragraphs after which only the number of the others is given; None shows all.
    """
    grouped: dict[Problem, list[str]] = defaultdict(list)
    for finding in findings:
        grouped[finding.severity, finding.expected, finding.found, finding.remedy].append(_place(finding))
    if not grouped:
        return "No problems found."
    ordered = sorted(grouped.items(), key=lambda item: item[0][0])
    paragraphs = [_paragraph(problem, places) for problem, places in ordered[:shown]]
    hidden = len(ordered) - len(paragraphs)
    rest = [f"and {count_of(hidden, 'other problem')}"] if hidden else []
    return printable("\n\n".join([_summary(grouped), *paragraphs, *rest]))


def _place(finding: Finding) -> str:
    return f"{finding.case} ({finding.file})" if finding.file else finding.case


def _attempt(read: Callable[[], T], path: Path, *, case: str, findings: list[Finding]) -> T | None:
    """What a file holds, or None and a finding."""
    try:
        return read()
    except ScanError as error:
        findings.append(Finding.of(case, error, f"{path.parent.name}/{path.name}"))
        return None


def _channel_findings(case: str, image: ScanHeader, channels: int | None) -> list[Finding]:
    if channels is None or image.channels == channels:
        return []
    return [
        Finding(
            "error",
            case,
            f"an image of {count_of(channels, 'channel')}, one a modality",
            str(image.channels),
            "Correct data.modalities, or export the image with the channels of the others.",
        )
    ]


def _mask_header_findings(case: Case, mask: ScanHeader, image: ScanHeader | None) -> list[Finding]:
    findings = []
    if not _has_labels(case, mask):
        found = count_of(mask.channels, "channel")
        remedy = (
            "Merge them into one label map; where they are colours, name these in data.mask.colours, and where they "
            "are greys, give data.mask.threshold."
        )
        findings.append(Finding("error", case.name, "a mask with one label a voxel", found, remedy))
    problem = None if image is None else misplaced_mask(image, mask)
    if problem is not None:
        findings.append(Finding.of(case.name, problem))
    return findings


def _has_labels(case: Case, mask: ScanHeader) -> bool:
    """Whether a label can be read for each voxel: from the one channel, or as the case's coding says."""
    return mask.channels == 1 or not case.coding.is_plain


def _content_hash(case: Case, findings: list[Finding]) -> str | None:
    scan = _attempt(lambda: read_image(case.images), case.image, case=case.name, findings=findings)
    return None if scan is None else scan.content_hash()


def _label_voxels(job: Inspection, findings: list[Finding]) -> dict[int, int] | None:
    """How many voxels each label has; None where the mask cannot be read."""
    assert job.case.mask is not None
    mask = _attempt(lambda: read_labels(job.case), job.case.mask, case=job.case.name, findings=findings)
    if mask is None:
        return None
    view = job.case.field_of_view
    if view is not None:
        _attempt(lambda: read_field_of_view(job.case, mask), view, case=job.case.name, findings=findings)
    values, counts = np.unique(mask.array, return_counts=True)
    voxels = {int(value): int(count) for value, count in zip(values, counts, strict=True) if value > 0}
    findings += _value_findings(job.case.name, frozenset(voxels), job.labels)
    return voxels


def _value_findings(case: str, labels: frozenset[int], declared: frozenset[int] | None) -> list[Finding]:
    if not labels:
        remedy = "Leave it if the scan shows none of the structures; otherwise export the mask again."
        return [Finding("warning", case, "a mask that marks something", "zeros alone", remedy)]
    problem = None if declared is None else unknown_labels(labels, declared)
    return [] if problem is None else [Finding.of(case, problem)]


def _file_findings(dataset: Dataset) -> list[Finding]:
    """What the names of the files give away."""
    add_mask = "Add it, or move the image out of the folder of those that have one."
    listed, copy = (
        "the files that dataset.json lists",
        "Copy it from where the data set came from, or take it off the list.",
    )
    kinds: list[tuple[Severity, tuple[Path, ...], str, str, str]] = [
        ("error", dataset.unmasked, "a mask for every image", "none", add_mask),
        ("error", dataset.orphan_masks, "an image for every mask", "none", "Add it, or remove the mask."),
        ("error", dataset.missing, listed, "no such file", copy),
        ("error", dataset.incomplete, "every file of a case", "no such file", "Add it, or move the case elsewhere."),
        ("warning", dataset.missing_unlabelled, listed, "no such file", copy),
        ("warning", dataset.unlisted, "only files that dataset.json lists", "others", "List it, or remove it."),
    ]
    strays = [
        Finding(severity, case_name(path), expected, found, remedy, _shown(path, dataset.root))
        for severity, paths, expected, found, remedy in kinds
        for path in paths
    ]
    return strays + _ignored(dataset)


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _ignored(dataset: Dataset) -> list[Finding]:
    if not dataset.ignored:
        return []
    expected = f"scans ({registry.READ})"
    found = f"other files, left out: {enumerate_names(path.name for path in dataset.ignored)}"
    return [Finding("warning", "", expected, found, "Convert them if they belong to the data.")]


def _label_findings(dataset: Dataset, facts: Sequence[CaseFacts]) -> list[Finding]:
    findings = []
    if not dataset.cases:
        remedy = "Check that images and masks have the same names."
        findings.append(Finding("error", "", "an image with a mask, at least one", "none", remedy))
    elif len(dataset.labels) > MAX_LABELS:
        remedy = "Check that these are the masks, or merge some of the labels."
        findings.append(Finding("error", "", f"at most {MAX_LABELS} labels", str(len(dataset.labels)), remedy))
    elif not dataset.declared:
        findings.append(_unnamed_labels(dataset, facts))
    return findings + _unused_labels(dataset, facts)


def _unnamed_labels(dataset: Dataset, facts: Sequence[CaseFacts]) -> Finding:
    if not dataset.labels and any(each.labels is not None for each in facts):
        remedy = "Check that these are the masks, and name the labels in data.labels."
        return Finding("error", "", "a label, at least one", "masks of zeros alone", remedy)
    names = enumerate_names(dataset.labels) or "label_<value>"
    found = f"none, so that they are called {names} after the values in the masks"
    return Finding("warning", "", "names of the labels", found, "Name them in data.labels of the configuration.")


def _unused_labels(dataset: Dataset, facts: Sequence[CaseFacts]) -> list[Finding]:
    """Labels that no mask holds, as far as masks were read."""
    read = sum(each.labels is not None for each in facts)
    held = _held(facts)
    return [
        Finding(
            "warning",
            "",
            f"the label {name} (value {value}) in some mask",
            f"it in none of the {read} that were read",
            "Correct its value, or take it off the labels: it cannot be learnt.",
        )
        for name, value in dataset.labels.items()
        if read and value not in held
    ]


def _held(facts: Sequence[CaseFacts]) -> frozenset[int]:
    """The values above 0 of all masks that were read."""
    return frozenset[int]().union(*(each.labels for each in facts if each.labels is not None))


def _duplicates(dataset: Dataset, facts: Sequence[CaseFacts]) -> list[Finding]:
    """Images with the same content; among different patients they can end up on both sides of a split."""
    patients = {case.name: case.patient for case in (*dataset.unlabelled, *dataset.cases)}
    by_hash: dict[str, list[str]] = defaultdict(list)
    for each in facts:
        if each.content_hash is not None:
            by_hash[each.content_hash].append(each.case)
    return [_duplicate(names, patients) for names in by_hash.values() if len(names) > 1]


def _duplicate(names: list[str], patients: Mapping[str, str]) -> Finding:
    severity: Severity = "warning" if len({patients[name] for name in names}) == 1 else "error"
    found = f"the same values in {', '.join(names)}"
    return Finding(severity, names[0], "images that differ", found, "Keep one of them.")


def _odd_spacings(facts: Sequence[CaseFacts]) -> list[Finding]:
    """Scans whose voxels have another size than is usual in the data set: often a wrong unit or a lost spacing."""
    known = {each.case: np.array(each.spacing_mm) for each in facts if each.spacing_mm is not None}
    if not known:
        return []
    usual = np.median(list(known.values()), axis=0)
    expected = f"a spacing near the usual one of {_times(usual)} mm"
    remedy = "Compare its header with the original scan."
    return [
        Finding("warning", case, expected, f"{_times(spacing)} mm", remedy)
        for case, spacing in known.items()
        if np.maximum(spacing / usual, usual / spacing).max() > ODD_SPACING
    ]


def _mixed_units(facts: Sequence[CaseFacts]) -> list[Finding]:
    """Scans and pictures side by side: what is a pixel in the one would pass for a millimetre in the other."""
    pictures = [each.case for each in facts if each.unit == "px"]
    if not pictures or not any(each.unit == "mm" for each in facts):
        return []
    expected = "scans that all have a spacing, or pictures alone (PNG, TIFF, JPEG ...)"
    remedy = "Keep one kind in the data set."
    return [Finding("error", case, expected, "a picture among scans", remedy) for case in pictures]


def _times(spacing_mm: NDArray[np.float64]) -> str:
    return " x ".join(f"{mm:.3g}" for mm in spacing_mm)


def _assumed_modalities(dataset: Dataset) -> list[Finding]:
    if dataset.modalities_declared:
        return []
    found = f"none, so that each channel is taken as {dataset.modalities[0]}" if dataset.modalities else "none"
    remedy = "Set data.modalities in the configuration: [MR], or [CT], whose intensities are normalised in another way."
    return [Finding("warning", "", "names of the modalities", found, remedy)]


def _shared_names(dataset: Dataset) -> list[Finding]:
    """Cases that each count as a patient, though their names say that several are of one.

    Names are taken to say so where they share all but their last part (``p1_frame01``, ``p1_frame12``), and there are
    several such groups; ``scan_1``, ``scan_2`` ... are one group, which says nothing.
    """
    names = [case.name for case in dataset.cases if case.patient == case.name]
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[re.sub(r"[_-][A-Za-z]*[0-9]*$", "", name)].append(name)
    shared = [group for group in groups.values() if len(group) > 1]
    if len(names) < len(dataset.cases) or len(shared) < 2 or len(groups) < SHARED_NAMES * len(names):
        return []
    found = f"each case as a patient of its own, though {enumerate_names(shared[0], 2)} look like one"
    remedy = (
        "Set data.patient_pattern (such as '^(.*)_') or data.patient_table: what is learnt from a patient must not be "
        "tested on the same one. Leave it where they are not of one patient."
    )
    return [Finding("warning", "", "the patient of each case", found, remedy)]


def _summary(grouped: Mapping[Problem, list[str]]) -> str:
    counts: dict[Severity, int] = {"error": 0, "warning": 0}
    for key, cases in grouped.items():
        counts[key[0]] += len(cases)
    return ", ".join(count_of(count, severity) for severity, count in counts.items() if count)


def _paragraph(problem: Problem, places: list[str]) -> str:
    severity, expected, found, remedy = problem
    named = [place for place in places if place]
    where = [f"  cases     {enumerate_names(named)}"] if named else []
    lines = [f"{severity.upper()}: expected {expected}", f"  found     {found}", *where, f"  remedy    {remedy}"]
    return "\n".join(lines)
