"""Small pictures of cases, drawn where the cases are read: apart from other reading, which needs no library to draw."""

import numpy as np
from numpy.typing import NDArray

from pipeline.figures import thumbnail
from pipeline.geometry import misplaced_mask
from pipeline.layouts.case_files import read_image, read_labels
from pipeline.layouts.dataset import Case
from pipeline.preprocessing.labels import values_in


def read_thumbnail(case: Case, labels: dict[str, int]) -> NDArray[np.uint8]:
    """A small picture (height, width, 3) of a case with its mask, where it has one.

    Args:
        case: the files.
        labels: name and value of each structure; where there are none, those that the mask holds are drawn.

    Raises:
        ScanError: a file cannot be read, or the two grids differ.
    """
    scan = read_image(case.images)
    if case.mask is None:
        return thumbnail(scan, np.zeros(scan.shape, np.uint8), labels={})
    mask = read_labels(case)
    problem = misplaced_mask(scan, mask)
    if problem is not None:
        raise problem
    shown = labels or {str(value): value for value in sorted(values_in(mask.array))}
    return thumbnail(scan, mask.array[0], labels=shown)
