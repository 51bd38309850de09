import numpy as np
import pytest

from pipeline.inference.windows import Held, WindowGrid, is_large, most_held, nesting, starts


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
    ("shape", "patch_size", "order"),
    [
        ((300, 400, 600), (64, 64, 64), (2, 1, 0)),
        ((512, 400, 80), (64, 64, 64), (0, 1, 2)),
        ((100, 100, 100), (64, 64, 64), (0, 1, 2)),  # all the same
        ((100, 100, 100), (64, 64, 32), (2, 0, 1)),
        ((200, 200, 40), (128, 128, 1), (2, 0, 1)),  # slices, one after another
        ((10, 40, 64), (64, 64, 64), (0, 1, 2)),  # padded to 64 everywhere
    ],
)
def test_windows_advance_fastest_along_the_axis_with_the_fewest_patches(
    shape: tuple[int, ...], patch_size: tuple[int, ...], order: tuple[int, ...]
) -> None:
    assert nesting(shape, patch_size) == order


def test_windows_come_row_by_row_and_each_has_its_own_cell_whole() -> None:
    grid = WindowGrid((9, 6), (4, 4), 0.5)  # the picture of the class along the first axis
    assert grid.starts == ((0, 2, 3, 5), (0, 2))
    assert grid.corners == ((0, 2, 3, 5, 7, 9), (0, 2, 4, 6))
    assert list(grid.places()) == [(i, j) for i in range(5) for j in range(3)]
    assert [place for place in grid.places() if grid.has_window(place)] == [(i, j) for i in range(4) for j in range(2)]
    assert grid.window((1, 1)) == (slice(2, 6), slice(2, 6))
    assert grid.cell((1, 1)) == (slice(2, 3), slice(2, 4))
    touched = {cell: (part.in_window, part.shape) for cell, part in grid.touched((1, 0))}
    # of 4 voxels from 2: one of cell 1, two of cell 2, and the first one of the two of cell 3; of the others, 0 and 1
    assert touched == {
        (i, j): ((inside, slice(2 * j, 2 * j + 2)), (inside.stop - inside.start, 2))
        for i, inside in ((1, slice(0, 1)), (2, slice(1, 3)), (3, slice(3, 4)))
        for j in (0, 1)
    }


def test_a_window_that_is_alone_along_an_axis_has_one_cell_there() -> None:
    assert WindowGrid((4, 9), (4, 4), 0.5).corners[0] == (0, 4)


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.85])
@pytest.mark.parametrize("shape", [(13, 9, 20), (8, 8, 8), (30, 11, 8)])
def test_windows_touch_their_voxels_once_each_and_no_cell_after_its_own_window(
    shape: tuple[int, ...], overlap: float
) -> None:
    grid, done = WindowGrid(shape, (8, 8, 8), overlap), set()
    for place in grid.places():
        seen = np.zeros((8, 8, 8), int)
        for cell, part in grid.touched(place) if grid.has_window(place) else ():
            assert cell not in done
            seen[part.in_window] += 1
            begin = (side.start + at for side, at in zip(grid.window(place), part.corner, strict=True))
            assert tuple(begin) == tuple(side.start for side in grid.cell(cell))
        assert (seen == int(grid.has_window(place))).all()
        done.add(place)
    covered = np.zeros(shape, int)
    for place in done:
        covered[grid.cell(place)] += 1
    assert (covered == 1).all()


def test_what_is_held_is_counted_in_voxels_that_windows_have_touched() -> None:
    # windows at 0, 2 and 4: each holds its own 2 voxels and 2 more, and then hands out 2
    assert most_held(WindowGrid((8,), (4,), 0.5)) == Held(total=4, cell=2)
    # of 4 x 4 voxels the first window hands out 2 x 2, and the second one of its row adds 4 x 2
    assert most_held(WindowGrid((6, 8), (4, 4), 0.5)).total == 16 - 4 + 8


def test_the_length_of_the_slowest_axis_does_not_matter() -> None:
    short, long = (most_held(WindowGrid((n, 40, 40), (16, 16, 16), 0.5)) for n in (104, 1000))
    assert long == short


def test_sums_are_large_above_two_billion_bytes() -> None:
    assert not is_large(100, 5_000_000)
    assert is_large(100, 5_000_001)
