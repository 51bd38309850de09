"""Between the label values of masks and the class numbers of networks, which count from 0 without gaps."""

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ScanError


def to_classes(mask: NDArray[np.unsignedinteger], label_values: tuple[int, ...]) -> NDArray[np.uint8]:
    """Mask values to class numbers: 0 stays 0, the n-th value becomes n.

    Raises:
        ScanError: the mask holds another value.
    """
    table = np.full(int(max(mask.max(), *label_values)) + 1, 255, np.uint8)
    table[[0, *label_values]] = range(len(label_values) + 1)
    classes = table[mask]
    if (classes == 255).any():
        unknown = sorted({int(value) for value in np.unique(mask)} - {0, *label_values})
        raise ScanError(
            f"a mask with the values 0 and {', '.join(map(str, label_values))}",
            f"also {', '.join(map(str, unknown))}",
            "Correct the mask, or declare the label in data.labels.",
        )
    return classes


def to_values(classes: NDArray[np.uint8], label_values: tuple[int, ...]) -> NDArray[np.unsignedinteger]:
    """Class numbers to mask values, in the smallest type that holds all of them; the inverse of `to_classes`."""
    if max(label_values) < 2**8:
        return np.array([0, *label_values], np.uint8)[classes]
    return np.array([0, *label_values], np.uint16)[classes]
