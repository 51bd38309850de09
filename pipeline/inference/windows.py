"""Where the windows of a sliding window lie: arithmetic of sizes, without torch."""

import math

Size = tuple[int, ...]


def starts(size: int, patch: int, overlap: float) -> list[int]:
    """Where patches begin along an axis: evenly spread, the first at 0 and the last ending with the image.

    Example:
        >>> starts(10, patch=4, overlap=0.5)
        [0, 2, 4, 6]
    """
    last = size - patch
    steps = -(-last // max(1, int(patch * (1 - overlap))))  # rounded up
    return [round(last * index / steps) for index in range(steps + 1)] if steps > 0 else [0]


def padded_shape(shape: Size, patch_size: Size) -> Size:
    """The shape of an image that is padded to at least the patch's size."""
    return tuple(max(n, p) for n, p in zip(shape, patch_size, strict=True))


def slab_shape(shape: Size, patch_size: Size, axis: int) -> Size:
    """The planes that windows at one place of an axis touch: as deep as a patch there, as large as the image across."""
    padded = padded_shape(shape, patch_size)
    return tuple(p if each == axis else n for each, (n, p) in enumerate(zip(padded, patch_size, strict=True)))


def streaming_axis(shape: Size, patch_size: Size) -> int:
    """The spatial axis along which windows advance: the one whose slab is smallest, of equal ones the first.

    It follows from the sizes alone, so that a scan has the same mask on every machine.

    Example: a patch of (64, 64, 64) advances through (300, 300, 600) along axis 2, where a slab is 64 x 300 x 300.
    """
    return min(range(len(shape)), key=lambda axis: math.prod(slab_shape(shape, patch_size, axis)))
