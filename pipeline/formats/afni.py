"""AFNI's volumes (.HEAD beside .BRIK) through nibabel, whose affines of them map to RAS mm."""

import re
from io import StringIO
from pathlib import Path

import numpy as np
from nibabel.brikhead import AFNIHeader

from pipeline.errors import ScanError
from pipeline.formats.content import beside, read_bytes, read_plain
from pipeline.formats.format import Format
from pipeline.formats.voxels import unpack
from pipeline.scan import Scan, ScanHeader

NAME = "AFNI"
ENDING = ".head"
VOXELS = (".brik", ".brik.gz")
ORIENTATION = "IJK_TO_DICOM_REAL"


def recognises(head: bytes) -> bool:
    """Whether a file begins with an attribute as AFNI writes them."""
    return re.match(rb"\s*type\s*=\s*(string|integer|float)-attribute\s", head) is not None


def read_header(path: Path) -> ScanHeader:
    """The grid, without the voxels.

    Raises:
        ScanError: a file is missing, it is none of AFNI's, or it does not tell how it lies in the patient.
    """
    files(path)
    return _grid(_parse(path))


def read_scan(path: Path) -> Scan:
    """Read a volume (C, I, J, K); its sub-bricks become the channels.

    Raises:
        ScanError: as `read_header`, and where the voxels are damaged or cut off.
    """
    _, voxels = files(path)
    header = _parse(path)
    grid, scaling = _grid(header), header.get_data_scaling()
    array = unpack(read_plain(voxels), header.get_data_dtype(), (*grid.shape, grid.channels), exact=True)
    if scaling is not None:
        array = array * scaling.astype(np.result_type(array, np.float32))
    return Scan(np.moveaxis(array, -1, 0), grid.affine, path, format=NAME)


def files(path: Path) -> tuple[Path, ...]:
    """The header and the voxels.

    Raises:
        ScanError: the voxels are missing.
    """
    voxels = beside(path, ENDING, VOXELS)
    if voxels is None:
        raise ScanError("a .HEAD beside a .BRIK of the same name", f"{path.name} alone", "Copy the other file too.")
    return path, voxels


def _parse(path: Path) -> AFNIHeader:
    text = read_bytes(path).decode("latin-1").replace("\r\n", "\n")
    return AFNIHeader.from_fileobj(StringIO(text))


def _grid(header: AFNIHeader) -> ScanHeader:
    if ORIENTATION not in header.info:
        raise ScanError(
            f"an AFNI header with {ORIENTATION}", "none, so that left and right are unknown", "Refit it (3drefit)."
        )
    *shape, bricks = (int(size) for size in header.get_data_shape())
    if len(shape) != 3 or min(*shape, bricks) < 1:
        raise ScanError("an AFNI volume of three axes", f"sizes {header.get_data_shape()}", "Export it again.")
    if header.get_data_dtype().kind not in "iuf":
        raise ScanError("real intensities", "complex numbers", "Save the magnitude.")
    return ScanHeader(tuple(shape), bricks, np.asarray(header.get_affine(), dtype=np.float64))


FORMAT = Format(
    name=NAME,
    endings=(ENDING, *VOXELS),
    recognises=recognises,
    read_header=read_header,
    read_scan=read_scan,
    companions=VOXELS,
    headers=(ENDING,),
    files=files,
)
