"""MINC volumes (.mnc), version 1 and 2, through nibabel; version 2 lies in HDF5.

nibabel's affines of them map to RAS mm, from the axes in their order in the file. SimpleITK is not used: it cannot read
version 1, and it takes the patient's right of version 2 for the left.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from nibabel.externals.netcdf import netcdf_file
from nibabel.minc1 import Minc1File
from nibabel.minc2 import Minc2File
from numpy.typing import NDArray

from pipeline.errors import ScanError
from pipeline.formats.content import read_bytes, read_plain, unpacked_head
from pipeline.formats.format import Format
from pipeline.scan import Scan, ScanHeader

NAME = "MINC"
NETCDF = b"CDF\x01"
HDF5 = b"\x89HDF\r\n\x1a\n"
HEAD_BYTES = 4096
SPATIAL = ("xspace", "yspace", "zspace")


def recognises(head: bytes) -> bool:
    """Whether a file, unpacked, begins as the container of either version does."""
    return head.startswith((NETCDF, HDF5))


def read_header(path: Path) -> ScanHeader:
    """The grid, without the voxels.

    Raises:
        ScanError: the file is missing or no MINC, or the spacing is not stated.
    """
    with _opened(path) as file:
        return _grid(file)


def read_scan(path: Path) -> Scan:
    """Read a volume (C, I, J, K) of real values; the times of a series become the channels.

    Raises:
        ScanError: as `read_header`, and where the file is damaged or cut off.
    """
    with _opened(path) as file:
        grid = _grid(file)
        array = np.array(file.get_scaled_data())  # in memory of its own, in the machine's byte order
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return Scan(_channels_first(array, file).reshape(grid.channels, *grid.shape), grid.affine, path, format=NAME)


@contextmanager
def _opened(path: Path) -> Iterator[Minc1File]:
    if unpacked_head(read_bytes(path, HEAD_BYTES)).startswith(HDF5):
        import h5py

        with h5py.File(path, "r") as content:
            yield Minc2File(content)
    else:
        with netcdf_file(BytesIO(read_plain(path)), "r", mmap=False) as content:
            yield Minc1File(content)


def _grid(file: Minc1File) -> ScanHeader:
    names, sizes = list(file._dim_names), file.get_data_shape()
    shape = tuple(int(size) for name, size in zip(names, sizes, strict=True) if name in SPATIAL)
    channels = [int(size) for name, size in zip(names, sizes, strict=True) if name not in SPATIAL]
    if len(shape) != 3 or len(channels) > 1 or min(sizes) < 1:
        raise ScanError("a MINC volume, or a series of them", f"the axes {', '.join(names)}", "Save one volume a file.")
    for name, axis in zip(names, file._dims, strict=True):
        if name in SPATIAL and not hasattr(axis, "step"):
            raise ScanError("a step for each axis of the MINC file", f"none for {name}", "Correct its header.")
    return ScanHeader(shape, channels[0] if channels else 1, np.asarray(file.get_affine(), dtype=np.float64))


def _channels_first(array: NDArray, file: Minc1File) -> NDArray:
    others = [axis for axis, name in enumerate(file._dim_names) if name not in SPATIAL]
    return np.moveaxis(array, others, range(len(others)))


FORMAT = Format(
    name=NAME,
    endings=(".mnc", ".mnc.gz"),
    recognises=recognises,
    read_header=read_header,
    read_scan=read_scan,
    compressed=True,
)
