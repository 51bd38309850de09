"""Arithmetic of layer sizes: a window of kernel k, stride s and padding p turns m voxels into (m - k + 2p)/s + 1."""

from dataclasses import dataclass

from pipeline.errors import ConfigError

Size = tuple[int, ...]
SEARCH_VOXELS = 512
VOLUME = 3
"""Spatial axes of a scan; an image is a volume of one slice."""


@dataclass(frozen=True)
class Window:
    """A convolution or pooling as far as sizes are concerned; one entry an axis.

    Attributes:
        name: the layer's name in the network, e.g. ``encoder.2.downsample``.
        kernel: window size in voxels.
        stride: step in voxels; what the decoder multiplies by on the way up.
        padding: voxels added at each side.
    """

    name: str
    kernel: Size
    stride: Size
    padding: Size


def as_window(patch: Size) -> Size:
    """A network's patch as a box of a prepared scan: an image's patch lies in one slice, across the last axis.

    Example:
        >>> as_window((64, 48))
        (64, 48, 1)
    """
    return patch if len(patch) == VOLUME else (*patch, 1)


def half(kernel: Size) -> Size:
    """The padding with which an odd kernel keeps a size, and only a stride changes it.

    Example:
        >>> half((3, 1, 5))
        (1, 0, 2)
    """
    return tuple(k // 2 for k in kernel)


def output_size(size: int, *, kernel: int, stride: int, padding: int) -> int:
    """How many voxels leave a window, (m - k + 2p)/s + 1, rounded down as convolutions do.

    Example:
        >>> output_size(40, kernel=3, stride=2, padding=1)
        20
    """
    return (size - kernel + 2 * padding) // stride + 1


def trace(patch: Size, windows: list[Window]) -> list[Size]:
    """The size after each of the encoder's windows.

    A stride that does not divide its input would make the decoder come back with another size than the skip
    connection has (41 -> 21 -> 42), so it does not fit.

    Raises:
        ConfigError: names the first layer that does not fit, the axis, and the nearest sizes that do.
    """
    sizes, current = [], patch
    for window in windows:
        after = [_next_size(size, window, axis) for axis, size in enumerate(current)]
        if None in after:
            axis = after.index(None)
            found = (
                f"{patch[axis]} voxels, which reach layer {window.name} as {current[axis]}, where its stride of "
                f"{window.stride[axis]} does not lead back to the same size"
            )
            raise _misfit(patch, axis, windows, found=found)
        current = tuple(size for size in after if size is not None)
        sizes.append(current)
    return sizes


def fits(size: int, axis: int, windows: list[Window]) -> bool:
    """Whether ``size`` voxels along ``axis`` pass every window and come back up to the same size."""
    for window in windows:
        after = _next_size(size, window, axis)
        if after is None:
            return False
        size = after
    return True


def nearest_fitting(size: int, axis: int, windows: list[Window]) -> list[int]:
    """The largest size below and the smallest size above ``size`` that fit; either may be missing."""
    below = next((n for n in range(size - 1, 0, -1) if fits(n, axis, windows)), None)
    above = next((n for n in range(size + 1, size + SEARCH_VOXELS) if fits(n, axis, windows)), None)
    return [n for n in (below, above) if n is not None]


def receptive_field(windows: list[Window]) -> Size:
    """Voxels of the input that one voxel behind the last window sees, per axis.

    A window widens the field by (k - 1) steps of its input, and a step there is the product of the strides before
    it (Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019, eq. 2).
    """
    field, step = [1] * len(windows[0].kernel), [1] * len(windows[0].kernel)
    for window in windows:
        for axis, (kernel, stride) in enumerate(zip(window.kernel, window.stride, strict=True)):
            field[axis] += (kernel - 1) * step[axis]
            step[axis] *= stride
    return tuple(field)


def _next_size(size: int, window: Window, axis: int) -> int | None:
    kernel, stride, padding = window.kernel[axis], window.stride[axis], window.padding[axis]
    after = output_size(size, kernel=kernel, stride=stride, padding=padding)
    return after if after >= 1 and after * stride == size else None


def _misfit(patch: Size, axis: int, windows: list[Window], *, found: str) -> ConfigError:
    nearest = nearest_fitting(patch[axis], axis, windows)
    use = f"Use {' or '.join(str(n) for n in nearest)} voxels along axis {axis}, or change" if nearest else "Change"
    return ConfigError(
        f"a patch whose size along axis {axis} fits every layer of the network",
        found,
        f"{use} network.strides.",
    )
