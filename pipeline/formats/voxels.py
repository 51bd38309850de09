"""Arrays from bytes, and what values a scan and a mask may hold: the same for every format."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ScanError
from pipeline.scan import Scan
from pipeline.wording import count_of

WHOLE_TOLERANCE = 1e-3
LARGEST_VALUE = float(np.finfo(np.float32).max)
"""Everything after reading computes in 32 bits."""
SEVERAL_CHANNELS = "Merge them into one label map; a mask of colours needs a table that gives each colour its label."


def unpack(content: bytes, kind: np.dtype, shape: tuple[int, ...], *, offset: int = 0, exact: bool = False) -> NDArray:
    """Values that lie one behind the other, first axis fastest, in the machine's own byte order.

    Args:
        content: of the file.
        kind: number type, with its byte order.
        shape: of the array.
        offset: of the first value, in bytes.
        exact: whether nothing may follow the values, because the format has nothing else to follow them.

    Raises:
        ScanError: there are too few bytes, or too many.
    """
    count = math.prod(shape)
    found = max(len(content) - offset, 0)
    if found < count * kind.itemsize:
        raise ScanError(
            f"{count * kind.itemsize} bytes of voxels", f"{found}: the file is cut off", "Copy or export it again."
        )
    if exact and found > count * kind.itemsize:
        raise ScanError(
            f"{count * kind.itemsize} bytes of voxels",
            f"{found}",
            "Correct the sizes or the number type in the header.",
        )
    stored = np.frombuffer(content, kind, count, offset).reshape(shape, order="F")
    return stored.astype(kind.newbyteorder("="), copy=False)


def check_values(array: NDArray) -> None:
    """Refuse what the network cannot compute with.

    Raises:
        ScanError: NaN, infinity, or values beyond 32 bits.
    """
    if array.dtype.kind != "f":
        return
    finite = np.isfinite(array)
    if not finite.all():
        count = int(array.size - finite.sum())
        raise ScanError(
            "finite values",
            f"NaN or infinity in {count_of(count, 'voxel')}",
            "Find out what they stand for and replace them.",
        )
    if array.itemsize > 4 and np.abs(array).max() > LARGEST_VALUE:
        raise ScanError(
            f"values up to {LARGEST_VALUE:.0e}", f"{np.abs(array).max():.3g}", "Find out what it stands for."
        )


def to_labels(scan: Scan) -> Scan:
    """A mask (1, I, J, K) of whole label values, as the smallest unsigned integer type that holds them.

    Whole numbers that were stored as floats, or rounded on the way (0.99999997), are taken as the labels they are.

    Raises:
        ScanError: it has several channels, fractions or negative values.
    """
    if scan.channels != 1:
        raise ScanError("a mask with one label a voxel", count_of(scan.channels, "channel"), SEVERAL_CHANNELS)
    labels = _whole(scan.array)
    if labels.min() < 0 or labels.max() >= 2**16:
        raise ScanError(
            "label values from 0 to 65535", f"values from {labels.min():g} to {labels.max():g}", "Renumber the labels."
        )
    kind = np.uint8 if labels.max() < 2**8 else np.uint16
    return replace(scan, array=labels.astype(kind))


def _whole(array: NDArray) -> NDArray:
    """The values as whole numbers.

    Raises:
        ScanError: one of them is none.
    """
    if array.dtype.kind != "f":
        return array
    whole = np.rint(array)
    if np.abs(array - whole).max() > WHOLE_TOLERANCE:
        raise ScanError(
            "whole label values", f"fractions such as {_fraction(array):.4g}", "Threshold or round the mask on purpose."
        )
    return whole


def _fraction(array: NDArray) -> float:
    return float(array.flat[int(np.abs(array - np.rint(array)).argmax())])
