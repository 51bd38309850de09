"""Label values of masks, and the class numbers of networks, which count from 0 without gaps."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ScanError

UNKNOWN = 255
"""Stands in a byte of class numbers for a value that is no label."""
IGNORED = UNKNOWN
"""Stands in a byte of class numbers for a voxel that no loss and no metric counts: outside the field of view."""
MAX_LABELS = UNKNOWN - 1
"""Labels for which a byte has numbers besides 0 and UNKNOWN; the checks refuse data sets with more."""


def values_in(mask: NDArray[np.unsignedinteger]) -> frozenset[int]:
    """The values above 0 that a mask holds."""
    return frozenset(int(value) for value in np.unique(mask)) - {0}


def unknown_labels(
    values: Collection[int],
    known: Collection[int],
    remedy: str = "Correct the mask, or declare the label in data.labels.",
) -> ScanError | None:
    """What is wrong with a mask that holds values other than the known ones; None where it holds no other.

    Args:
        values: what the mask holds above 0.
        known: values of the labels, without the background.
        remedy: what to do about the others.
    """
    unknown = set(values) - set(known)
    if not unknown:
        return None
    return ScanError(f"the label values {_listed({0, *known})}", f"also {_listed(unknown)}", remedy)


def to_classes(mask: NDArray[np.unsignedinteger], label_values: tuple[int, ...]) -> NDArray[np.uint8]:
    """Mask values to class numbers: 0 stays 0, the n-th value becomes n.

    Raises:
        ScanError: the mask holds another value.
    """
    table = np.full(int(max(mask.max(), *label_values)) + 1, UNKNOWN, np.uint8)
    table[[0, *label_values]] = range(len(label_values) + 1)
    classes = table[mask]
    if (classes == UNKNOWN).any():
        problem = unknown_labels(values_in(mask), label_values)
        assert problem is not None
        raise problem
    return classes


def to_values(classes: NDArray[np.uint8], label_values: tuple[int, ...]) -> NDArray[np.unsignedinteger]:
    """Class numbers to mask values, in the smallest type that holds all of them; the inverse of `to_classes`."""
    table = np.array([0, *label_values], np.uint8 if max(label_values) < 2**8 else np.uint16)
    values = np.empty(classes.shape, table.dtype)
    for index, plane in enumerate(classes):  # NumPy makes 8 bytes of each number first: not of the whole mask at once
        values[index] = table[plane]
    return values


def _listed(values: Collection[int]) -> str:
    return ", ".join(str(value) for value in sorted(values))
