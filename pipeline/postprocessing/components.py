"""Connected components of a label."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def keep_largest(mask: NDArray[np.unsignedinteger], value: int) -> NDArray[np.unsignedinteger]:
    """Set all but the largest connected part (faces touching) of one label to background.

    Args:
        mask: label values (I, J, K).
        value: the label.

    Returns:
        A new mask; of parts of equal size the one met first in memory order stays.
    """
    parts, count = ndimage.label(mask == value)
    if count <= 1:
        return mask.copy()
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.where((parts > 0) & (parts != sizes.argmax()), 0, mask).astype(mask.dtype)
