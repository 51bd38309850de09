"""Looking at one case, in another process, where a damaged file can do no harm."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.checks.findings import Finding
from pipeline.checks.review import intensity_reasons, repair_reasons, spacing_reasons
from pipeline.errors import ScanError
from pipeline.formats import registry
from pipeline.formats.dicom import scans as dicom
from pipeline.formats.dicom.volumes import Volume
from pipeline.geometry import misplaced_mask, ras_spacing_mm, to_ras
from pipeline.layouts.case_files import read_field_of_view, read_header, read_image, read_labels
from pipeline.layouts.dataset import Case
from pipeline.manifest import Manifest
from pipeline.preprocessing.labels import unknown_labels
from pipeline.scan import Scan, ScanHeader, Unit
from pipeline.wording import count_of

T = TypeVar("T")
WHITE = 255
"""Of grey pictures; as a label, it would be the last that a byte holds."""
OUTSIDE = 0.1
"""Share of the structures' voxels outside the field of view, above which it is worth a look."""


@dataclass(frozen=True)
class Inspection:
    """One case to look at; small enough to be sent to another process.

    Attributes:
        case: the case; without a mask, only its image is looked at.
        deep: whether to read the voxels.
        labels: the mask values that are declared; None where any will do.
        channels: how many channels its image should have; None where any number will do.
        volume: the slices of its image, where that is one of DICOM.
        model: that its image should suit; None asks for none.
    """

    case: Case
    deep: bool
    labels: frozenset[int] | None = None
    channels: int | None = None
    volume: Volume | None = None
    model: Manifest | None = None

    def read_header(self) -> ScanHeader:
        """The grid of its image."""
        return read_header(self.case.images) if self.volume is None else dicom.read_header(self.volume)

    def read_image(self) -> Scan:
        """Its image."""
        return read_image(self.case.images) if self.volume is None else dicom.read_scan(self.volume)


@dataclass(frozen=True)
class CaseFacts:
    """What looking at a case gave.

    Attributes:
        case: the case's name.
        findings: everything that is wrong with it alone.
        content_hash: of the image's values; None where they were not read.
        channels: of the image; None where its header cannot be read.
        spacing_mm: of the image in RAS order; None as above, and where it has none.
        shape: of the image in voxels, in RAS order; None as above.
        voxels: how many each value of the mask has, inside the field of view; None where the mask was not read.
        unit: of the image; None where its header cannot be read.
    """

    case: str
    findings: tuple[Finding, ...] = ()
    content_hash: str | None = None
    channels: int | None = None
    spacing_mm: tuple[float, ...] | None = None
    shape: tuple[int, ...] | None = None
    voxels: dict[int, int] | None = None
    unit: Unit | None = None

    @property
    def labels(self) -> frozenset[int] | None:
        """Mask values above 0 inside the field of view; None where the mask was not read."""
        return None if self.voxels is None else frozenset(value for value in self.voxels if value > 0)


def inspect_case(job: Inspection) -> CaseFacts:
    """Look at one case; all that can be said about it is said, not the first thing alone."""
    name, findings = job.case.name, list[Finding]()
    attempt = partial(_attempt, case=name, findings=findings)
    image = attempt(job.read_header, job.case.image)
    read_mask = registry.read_mask_header if job.case.coding.is_plain else registry.read_header
    masks = [(path, attempt(partial(read_mask, path), path)) for path in job.case.masks]
    if image is not None:
        findings += _channel_findings(name, image, job.channels)
        findings += [] if job.model is None else _unlike_training(name, _header_reasons(image, job.model))
    for path, mask in masks:
        findings += [] if mask is None else _mask_header_findings(job.case, path, mask, image=image)
    scan = attempt(job.read_image, job.case.image) if job.deep and image is not None else None
    if scan is not None and job.model is not None:
        findings += _unlike_training(name, intensity_reasons(scan, job.model))
    has_labels = all(mask is not None and _has_labels(job.case, mask) for _, mask in masks)
    voxels = _label_voxels(job, findings) if job.deep and masks and has_labels else None
    facts = CaseFacts(name, tuple(findings), None if scan is None else scan.content_hash(), voxels=voxels)
    return facts if image is None else _with_geometry(facts, image)


def _with_geometry(facts: CaseFacts, image: ScanHeader) -> CaseFacts:
    spacing_mm = ras_spacing_mm(image.affine) if image.unit == "mm" else None
    shape = tuple(image.shape[axis] for axis in to_ras(image.affine).source_axis)
    return replace(facts, channels=image.channels, spacing_mm=spacing_mm, shape=shape, unit=image.unit)


def _attempt(read: Callable[[], T], path: Path, *, case: str, findings: list[Finding]) -> T | None:
    """What a file holds, or None and a finding."""
    try:
        return read()
    except ScanError as error:
        findings.append(Finding.of(case, error, f"{path.parent.name}/{path.name}"))
        return None


def _header_reasons(image: ScanHeader, model: Manifest) -> list[str]:
    return [*repair_reasons(image.repairs, model), *spacing_reasons(image, model)]


def _unlike_training(case: str, reasons: Sequence[str]) -> list[Finding]:
    expected, remedy = "a scan like those of the training", "Look whether it is one: its mask is to be reviewed."
    return [Finding("warning", case, expected, reason, remedy) for reason in reasons]


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


def _mask_header_findings(case: Case, path: Path, mask: ScanHeader, *, image: ScanHeader | None) -> list[Finding]:
    findings, where = list[Finding](), "" if len(case.masks) == 1 else f"{path.parent.name}/{path.name}"
    if not _has_labels(case, mask):
        found = count_of(mask.channels, "channel")
        remedy = (
            "Merge them into one label map; where they are colours, name these in data.mask.colours, and where they "
            "are greys, give data.mask.threshold."
        )
        findings.append(Finding("error", case.name, "a mask with one label a voxel", found, remedy, where))
    problem = None if image is None else misplaced_mask(image, mask)
    if problem is not None:
        findings.append(Finding.of(case.name, problem, where))
    return findings


def _has_labels(case: Case, mask: ScanHeader) -> bool:
    """Whether a label can be read for each voxel: from the one channel, or as the case's coding says."""
    return mask.channels == 1 or not case.coding.is_plain


def _label_voxels(job: Inspection, findings: list[Finding]) -> dict[int, int] | None:
    """How many voxels each value has, inside the field of view; None where the mask cannot be read."""
    assert job.case.mask is not None
    mask = _attempt(lambda: read_labels(job.case), job.case.mask, case=job.case.name, findings=findings)
    if mask is None:
        return None
    labels = mask.array[0]
    if not labels.any():
        remedy = "Leave it if the scan shows none of the structures; otherwise export the mask again."
        findings.append(Finding("warning", job.case.name, "a mask that marks something", "zeros alone", remedy))
    path = job.case.field_of_view
    if path is not None:
        view = _attempt(lambda: read_field_of_view(job.case, mask), path, case=job.case.name, findings=findings)
        if view is not None:
            findings += _outside_findings(job.case.name, labels, view)
            labels = labels[view]
    values, counts = np.unique(labels, return_counts=True)
    findings += _value_findings(job, {*values.tolist()} - {0})
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _value_findings(job: Inspection, values: set[int]) -> list[Finding]:
    """Values that are no declared label; pictures of one structure, black and white or grey, are told as such."""
    problem = None if job.labels is None else unknown_labels(values, job.labels)
    if problem is None:
        return []
    if job.labels == frozenset({1}) and max(values) == WHITE:
        found = "values up to 255, as in black and white or grey pictures"
        remedy = "Give data.mask.threshold, such as 127, in a configuration."
        return [Finding("error", job.case.name, "masks of the values 0 and 1", found, remedy)]
    return [Finding.of(job.case.name, problem)]


def _outside_findings(case: str, labels: NDArray, view: NDArray[np.bool_]) -> list[Finding]:
    """A field of view that leaves out much of the mask may be another mask."""
    marked = labels > 0
    outside = float((~view)[marked].mean()) if marked.any() else 0.0
    if outside <= OUTSIDE:
        return []
    expected, found = "structures inside the field of view", f"{outside:.0%} of their voxels outside it"
    remedy = "Look whether it is a field of view at all: what lies outside it is not learnt from, and not scored."
    return [Finding("warning", case, expected, found, remedy)]
