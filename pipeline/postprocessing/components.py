"""Connected components of a label."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.errors import ConfigError


def face_neighbours(axes: int, *, per_slice: bool) -> NDArray[np.bool_]:
    """The voxels that touch the one in the middle by a face, as scipy and scikit-image take a neighbourhood.

    Args:
        axes: of the array, 2 or 3; a plane has 4 neighbours a pixel, a volume 6 a voxel.
        per_slice: whether the last of three axes only stacks images, so that nothing touches along it.

    Returns:
        Boolean, 3 along every axis.
    """
    neighbours = np.asarray(ndimage.generate_binary_structure(axes, 1), dtype=bool)
    if per_slice and axes == 3:
        neighbours[:, :, [0, 2]] = False
    return neighbours


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


def check_keep_largest(names: Sequence[str], labels: Mapping[str, int]) -> None:
    """Make sure that what `inference.keep_largest` names are labels.

    Raises:
        ConfigError: some are not.
    """
    check_names("inference.keep_largest", names, labels)


def check_names(key: str, names: Sequence[str], labels: Mapping[str, int]) -> None:
    """Make sure that what a setting names are labels.

    Raises:
        ConfigError: some are not.
    """
    unknown = [name for name in names if name not in labels]
    if unknown:
        raise ConfigError(
            f"names of labels ({', '.join(labels)}) in {key}",
            ", ".join(unknown),
            "Correct these names.",
        )
