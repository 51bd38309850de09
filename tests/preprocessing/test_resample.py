import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.transform import resize

from pipeline.preprocessing.resample import coarse_axis, resample_image, resample_labels, target_shape

SHAPES = [(9, 4, 13), (5, 11, 8), (14, 12, 10)]


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def reference(volume: NDArray, shape: tuple[int, ...], order: int) -> NDArray:
    return resize(volume, shape, order=order, mode="edge", anti_aliasing=False, clip=False, preserve_range=True)


def blocks(*values: int) -> NDArray[np.uint8]:
    """A label map (8, 7, 6) of boxes with these values."""
    labels = np.random.default_rng(1).choice(values, size=(4, 4, 3)).astype(np.uint8)
    return labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)[:, :7]


def test_the_target_shape_covers_the_same_extent() -> None:
    # 10 x 2 mm = 20 mm / 1.5 = 13.3; 7 x 1 mm / 1 = 7; 3 x 5 mm / 2 = 7.5, rounded to the even 8
    assert target_shape((10, 7, 3), (2.0, 1.0, 5.0), (1.5, 1.0, 2.0)) == (13, 7, 8)


def test_at_least_one_voxel_is_left() -> None:
    assert target_shape((2, 2, 2), (1.0, 1.0, 1.0), (9.0, 1.0, 1.0)) == (1, 2, 2)


@pytest.mark.parametrize(
    ("spacing_mm", "expected"),
    [
        ((1.0, 1.0, 1.0), None),
        ((1.0, 1.0, 3.0), None),  # 3 times is not more than 3 times
        ((1.0, 1.0, 3.1), 2),
        ((5.0, 0.7, 0.7), 0),
        ((0.5, 2.0, 1.0), 1),
        ((0.5, 2.0, 2.0), None),  # two coarse axes make no slices
        ((2.0, 0.5, 2.0000001), None),  # what 32 bits do to 2
    ],
)
def test_an_axis_is_coarse_above_the_ratio_to_the_finest(spacing_mm: tuple[float, ...], expected: int | None) -> None:
    assert coarse_axis(spacing_mm, ratio=3.0) == expected


def test_voxel_centres_lie_where_the_extent_puts_them() -> None:
    # output j of 4 lies at (j + 1/2) 3/4 - 1/2 = -0.125, 0.625, 1.375, 2.125; the ends are held
    line = np.array([0.0, 10.0, 20.0], np.float32).reshape(1, 3, 1, 1)
    resampled = resample_image(line, (4, 1, 1), order=1, coarse=None)
    np.testing.assert_allclose(resampled[0, :, 0, 0], [0.0, 6.25, 13.75, 20.0], rtol=1e-6)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_images_are_resampled_as_scikit_image_does(shape: tuple[int, ...], order: int) -> None:
    image = noise(2, 7, 8, 9)
    resampled = resample_image(image, shape, order=order, coarse=None)
    assert resampled.dtype == np.float32
    for channel, ours in zip(image, resampled, strict=True):
        np.testing.assert_allclose(ours, reference(channel, shape, order), atol=2e-5)


@pytest.mark.parametrize("coarse", [0, 1, 2])
def test_a_coarse_axis_takes_the_nearest_slice_of_slices_resampled_in_the_plane(coarse: int) -> None:
    image, shape = noise(1, 6, 6, 6), [9, 10, 8]
    shape[coarse] = 12
    resampled = resample_image(image, tuple(shape), order=3, coarse=coarse)
    plane = tuple(n for axis, n in enumerate(shape) if axis != coarse)
    slices = [reference(piece, plane, 3) for piece in np.moveaxis(image[0], coarse, 0)]
    expected = np.stack([slices[index // 2] for index in range(12)], coarse)
    np.testing.assert_allclose(resampled[0], expected, atol=2e-5)


def test_the_coarse_axis_alone_copies_slices_and_makes_no_new_values() -> None:
    image = noise(1, 4, 4, 3)
    resampled = resample_image(image, (4, 4, 7), order=3, coarse=2)
    assert set(np.unique(resampled)) <= set(np.unique(image))


def test_an_image_of_the_wanted_shape_is_left_alone() -> None:
    image = noise(1, 4, 5, 6)
    np.testing.assert_array_equal(resample_image(image, (4, 5, 6), order=3, coarse=None), image)


@pytest.mark.parametrize("coarse", [None, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_labels_never_become_a_value_that_was_not_there(shape: tuple[int, ...], coarse: int | None) -> None:
    labels = blocks(0, 2, 7)
    resampled = resample_labels(labels, shape, coarse)
    assert resampled.shape == shape
    assert resampled.dtype == np.uint8
    assert set(np.unique(resampled)) == {0, 2, 7}  # 1 or 4 between 0 and 7 would be an average


def test_labels_follow_the_largest_share() -> None:
    # halving 4 voxels: output 0 averages input 0 and 1, output 1 averages 2 and 3; ties stay with the smaller value
    labels = np.array([5, 5, 0, 5], np.uint8).reshape(4, 1, 1)
    assert resample_labels(labels, (2, 1, 1), None).ravel().tolist() == [5, 0]


def test_labels_enlarged_by_a_whole_factor_come_back_the_same() -> None:
    labels = blocks(0, 1, 3)
    large = resample_labels(labels, (24, 21, 18), None)
    np.testing.assert_array_equal(large[1::3, 1::3, 1::3], labels)
