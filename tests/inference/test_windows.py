import numpy as np
import pytest

from pipeline.inference.windows import slab_shape, starts, streaming_axis


@pytest.mark.parametrize(
    ("size", "patch", "overlap", "expected"),
    [
        (10, 4, 0.5, [0, 2, 4, 6]),
        (10, 4, 0.0, [0, 3, 6]),  # three patches of 4 cover 10, evenly spread
        (8, 4, 0.0, [0, 4]),
        (9, 4, 0.5, [0, 2, 3, 5]),  # 5/3 and 10/3, rounded
        (4, 4, 0.5, [0]),
        (5, 4, 0.5, [0, 1]),
        (6, 4, 0.99, [0, 1, 2]),  # a step is a voxel at least
    ],
)
def test_where_patches_start(size: int, patch: int, overlap: float, expected: list[int]) -> None:
    assert starts(size, patch, overlap) == expected


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.8])
def test_patches_cover_the_axis_and_overlap_enough(overlap: float) -> None:
    for size in range(12, 60):
        first = starts(size, 12, overlap)
        steps = np.diff(first)
        assert (first[0], first[-1]) == (0, size - 12)
        assert all(1 <= step <= np.ceil(12 * (1 - overlap)) for step in steps)


@pytest.mark.parametrize(
    ("shape", "patch_size", "axis"),
    [
        ((300, 300, 600), (64, 64, 64), 2),  # 64 x 300 x 300 is less than 64 x 300 x 600
        ((512, 400, 80), (64, 64, 64), 0),  # 64 x 400 x 80 is less than 512 x 64 x 80 and 512 x 400 x 64
        ((100, 100, 100), (64, 64, 64), 0),  # all the same
        ((100, 100, 100), (64, 64, 32), 2),
        ((200, 200, 40), (128, 128, 1), 2),  # slices, one after another
        ((10, 40, 64), (64, 64, 64), 0),  # padded to 64 everywhere
    ],
)
def test_windows_advance_along_the_axis_whose_slab_is_smallest(
    shape: tuple[int, ...], patch_size: tuple[int, ...], axis: int
) -> None:
    assert streaming_axis(shape, patch_size) == axis


def test_a_slab_is_as_deep_as_a_patch_and_padded_as_the_image_is() -> None:
    assert slab_shape((10, 40, 100), (64, 32, 32), axis=2) == (64, 40, 32)
    assert slab_shape((10, 40, 100), (64, 32, 32), axis=0) == (64, 40, 100)
