"""Looking at one case, in another process, where a damaged file can do no harm."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from pipeline.checks.findings import Finding
from pipeline.errors import ScanError
from pipeline.formats import registry
from pipeline.geometry import misplaced_mask, ras_spacing_mm
from pipeline.layouts.case_files import read_field_of_view, read_header, read_image, read_labels
from pipeline.layouts.dataset import Case
from pipeline.preprocessing.labels import unknown_labels
from pipeline.scan import ScanHeader, Unit
from pipeline.wording import count_of

T = TypeVar("T")


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
