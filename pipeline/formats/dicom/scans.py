"""A volume of DICOM slices as a scan."""

from pipeline.files import files_sha256
from pipeline.formats.axes import check_axes
from pipeline.formats.dicom.pixels import read_values
from pipeline.formats.dicom.volumes import Volume
from pipeline.formats.voxels import check_values
from pipeline.scan import Scan, ScanHeader

NAME = "DICOM"
"""As `Scan.format` has it."""


def read_header(volume: Volume) -> ScanHeader:
    """The grid of a volume.

    Raises:
        ScanError: its slices make up none.
    """
    if volume.problem is not None:
        raise volume.problem
    check_axes(volume.header.affine)
    return volume.header


def read_scan(volume: Volume) -> Scan:
    """Read a volume (1, I, J, K): columns, rows and slices.

    Raises:
        ScanError: as `read_header`, and where a file is damaged or holds what is not read.
    """
    header = read_header(volume)
    scan = Scan(read_values(volume.frames)[None], header.affine, volume.frames[0].path, format=NAME)
    check_values(scan.array)
    return scan


def content_sha256(volume: Volume) -> str:
    """SHA-256 of the hashes of a volume's files, in their order.

    Raises:
        OSError: a file cannot be read.
    """
    return files_sha256(volume.paths)
