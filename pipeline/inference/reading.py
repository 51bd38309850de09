"""What runs in reader processes: reading and preparing scans. No torch here, so that these processes start fast."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ScanError
from pipeline.formats import registry
from pipeline.formats.dicom import scans as dicom
from pipeline.formats.dicom.volumes import Volume
from pipeline.geometry import misplaced_mask
from pipeline.inference.batch import InputFile
from pipeline.layouts.case_files import read_counted_labels, read_header, read_image, read_labels
from pipeline.layouts.dataset import Case
from pipeline.preprocessing.fit import Fingerprint, fingerprint
from pipeline.preprocessing.fitted import FittedPreprocessing
from pipeline.preprocessing.labels import unknown_labels, values_in
from pipeline.preprocessing.prepare import Prepared, prepare
from pipeline.scan import Scan, ScanHeader

MAX_VOXELS = 4 * 10**9
"""Of a scan as it is stored, all channels counted: 8 GB in the usual 16 bits."""
FOREIGN_LABELS = "Score only what the model segments."
"""What to do about labels of a mask that a model does not know."""


@dataclass(frozen=True)
class ReadScan:
    """A scan to predict.

    Attributes:
        scan: as it was read.
        prepared: as the network sees it.
        sha256: of the file, or of all files of the scan.
        volume: its slices, where it is one of DICOM.
    """

    scan: Scan
    prepared: Prepared
    sha256: str
    volume: Volume | None = None


@dataclass(frozen=True)
class ReadCase:
    """A case to score.

    Attributes:
        prepared: the scan as the network sees it.
        truth: its mask.
        truth_hash: content hash of the mask, and of the field of view where there is one.
        field_of_view: where the mask means anything (I, J, K); None where it does everywhere.
        scan: the scan as it was read, where it was asked for.
    """

    prepared: Prepared
    truth: Scan
    truth_hash: str
    field_of_view: NDArray[np.bool_] | None = None
    scan: Scan | None = None


def read_and_prepare(entry: InputFile, fitted: FittedPreprocessing) -> ReadScan:
    """Read and prepare a scan of one file or several.

    Raises:
        ScanError: the file cannot be read, or does not suit the model.
    """
    _check_size(read_header(entry.paths) if entry.volume is None else dicom.read_header(entry.volume))
    scan = read_image(entry.paths) if entry.volume is None else dicom.read_scan(entry.volume)
    return ReadScan(scan, prepare(scan, fitted), content_sha256(entry), entry.volume)


def _check_size(header: ScanHeader) -> None:
    """Refuse what claims to be larger than any scan before it is unpacked: zeros compress to a thousandth."""
    voxels = header.channels * math.prod(header.shape)
    if voxels > MAX_VOXELS:
        expected, found = f"a scan of at most {MAX_VOXELS:.0e} voxels, all channels counted", f"{voxels:.2g}"
        raise ScanError(expected, found, "Look whether its header is damaged, or crop it.")


def content_sha256(entry: InputFile) -> str:
    """SHA-256 of a scan's file, or of the hashes of all its files.

    Raises:
        ScanError, OSError: a file cannot be read.
    """
    return registry.content_sha256(entry.paths) if entry.volume is None else dicom.content_sha256(entry.volume)


def read_fingerprint(case: Case) -> Fingerprint:
    """What fitting the preprocessing needs of a training case.

    Without a mask, what is brighter than the scan's mean counts as a structure: of CT, the patient and not the air.

    Raises:
        ScanError: a file cannot be read.
    """
    scan = read_image(case.images)
    if case.mask is not None:
        return fingerprint(scan, read_labels(case).array[0])
    return fingerprint(scan, (scan.array[0] > scan.array[0].mean()).astype(np.uint8))


def read_hash(case: Case) -> str:
    """Content hash of a case's scan."""
    return read_image(case.images).content_hash()


def read_case(case: Case, fitted: FittedPreprocessing, values: frozenset[int], *, keep_scan: bool = False) -> ReadCase:
    """Read and prepare a case with its mask.

    Args:
        case: the files.
        fitted: the model's preprocessing.
        values: the labels that the mask may hold.
        keep_scan: hand over the scan too, as pictures need it and scores do not.

    Raises:
        ScanError: a file cannot be read, the two grids differ, or the mask has labels that the model does not know.
    """
    assert case.mask is not None
    scan, (truth, view) = read_image(case.images), read_counted_labels(case)
    problem = misplaced_mask(scan, truth) or unknown_labels(values_in(truth.array), values, FOREIGN_LABELS)
    if problem is not None:
        raise problem
    return ReadCase(prepare(scan, fitted), truth, _scored_hash(truth, view), view, scan if keep_scan else None)


def _scored_hash(truth: Scan, view: NDArray[np.bool_] | None) -> str:
    """Content hash of what is scored: of the mask, and of the field of view where there is one."""
    if view is None:
        return truth.content_hash()
    return replace(truth, array=np.concatenate([truth.array, view[None].astype(truth.array.dtype)])).content_hash()
