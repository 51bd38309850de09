import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.config.inference import InferenceConfig, WatershedConfig
from pipeline.errors import ConfigError
from pipeline.metrics.instances import instances_of
from pipeline.postprocessing.instances import check_watershed, watershed_instances

Mask = NDArray[np.bool_]
PIXELS = (1.0, 1.0)
VOXELS = (1.0, 1.0, 1.0)


def settings(distance: float = 5.0, depth: float = 0.75) -> WatershedConfig:
    return WatershedConfig(labels=("nuclei",), peak_distance_mm=distance, peak_depth_mm=depth)


def divided(
    mask: Mask, config: WatershedConfig | None = None, *, spacing: tuple[float, ...] = PIXELS, per_slice: bool = False
) -> NDArray[np.int32]:
    return watershed_instances(mask, config or settings(), spacing=spacing, per_slice=per_slice)


def balls(
    *centres: tuple[float, ...], radius: float, shape: tuple[int, ...], spacing: tuple[float, ...] | None = None
) -> Mask:
    """Everything within the radius of one of the centres; lengths are in the unit of the spacing."""
    grid = np.moveaxis(np.indices(shape), 0, -1) * np.array(spacing or (1.0,) * len(shape))
    return np.any([np.linalg.norm(grid - np.array(centre), axis=-1) <= radius for centre in centres], axis=0)


TWO_DISCS = balls((15, 14), (15, 28), radius=10, shape=(31, 43))
"""Their middles are 14 pixels apart; halfway, at column 21, the mask is narrowest."""


def test_two_discs_that_overlap_are_divided_halfway() -> None:
    instances = divided(TWO_DISCS)
    assert instances.max() == 2
    # the pixels of column 21 are as far from one middle as from the other, and may be of either
    left, right = instances[:, :21][TWO_DISCS[:, :21]], instances[:, 22:][TWO_DISCS[:, 22:]]
    assert set(left.tolist()) == {1}
    assert set(right.tolist()) == {2}


def test_one_disc_stays_one_as_does_one_that_the_border_of_the_image_cuts() -> None:
    assert divided(balls((15, 15), radius=10, shape=(31, 31))).max() == 1
    assert divided(balls((0, 15), radius=10, shape=(31, 31))).max() == 1


def test_a_plus_sign_is_one_because_its_arms_are_no_wider_than_their_way_to_its_middle() -> None:
    plus = np.zeros((31, 31), bool)
    plus[13:18, 3:28] = plus[3:28, 13:18] = True
    instances = divided(plus)
    np.testing.assert_array_equal(instances, plus.astype(np.int32))


@pytest.mark.parametrize("degrees", [0, 20, 45, 70])
def test_an_ellipse_is_one_in_whatever_direction_it_lies(degrees: float) -> None:
    angle = np.radians(degrees)
    rows, columns = np.indices((81, 81)) - 40
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    assert divided((along / 35) ** 2 + (across / 7) ** 2 <= 1).max() == 1


def test_a_chain_of_discs_is_divided_into_as_many() -> None:
    assert divided(balls((15, 14), (15, 28), (15, 42), (15, 56), radius=10, shape=(31, 71))).max() == 4


def test_a_neck_has_to_be_narrower_by_the_depth() -> None:
    # the disc has a radius of about 10, and halfway to the other about sqrt(10^2 - 7^2) = 7.1
    assert divided(TWO_DISCS, settings(depth=2.0)).max() == 2
    assert divided(TWO_DISCS, settings(depth=4.0)).max() == 1


def test_middles_that_are_too_near_to_each_other_are_one() -> None:
    assert divided(TWO_DISCS, settings(distance=13)).max() == 2
    assert divided(TWO_DISCS, settings(distance=15)).max() == 1


def test_of_three_middles_the_one_that_is_too_near_to_a_higher_one_goes() -> None:
    small = balls((15, 41), radius=6, shape=(31, 51))
    mask = small | balls((15, 14), (15, 28), radius=10, shape=(31, 51))
    assert divided(mask, settings(distance=5)).max() == 3
    instances = divided(mask, settings(distance=13.5))  # 14 from left to right, 13 from there to the small one
    assert instances.max() == 2
    assert instances[15, 41] == instances[15, 28] != instances[15, 14]


def test_a_small_part_beside_a_large_one_is_an_instance_though_its_middle_is_near() -> None:
    mask = balls((10, 10), radius=8, shape=(21, 31))
    mask[9:12, 20:23] = True  # 9.5 pixels from the disc's middle, and one from its border
    assert divided(mask, settings(distance=30)).max() == 2


def test_the_spacing_says_what_is_round() -> None:
    # two balls of 8 mm whose middles are 12 mm apart along the first axis, in slices of 4 mm
    spacing = (4.0, 1.0, 1.0)
    mask = balls((12, 12, 12), (24, 12, 12), radius=8, shape=(10, 25, 25), spacing=spacing)
    instances = divided(mask, spacing=spacing)
    assert instances.max() == 2
    assert instances[3, 12, 12] != instances[6, 12, 12]  # at 12 and at 24 mm
    # in voxels, the middles are 3 apart, which is less than the least distance of 5
    assert divided(mask, spacing=VOXELS).max() == 1


def test_in_a_volume_balls_are_divided_and_in_a_stack_discs_are() -> None:
    # along the third axis, two balls touch: in the volume they are two, in each slice there is one disc
    mask = balls((12, 12, 10), (12, 12, 22), radius=8, shape=(25, 25, 33))
    assert divided(mask, spacing=VOXELS).max() == 2
    stack = divided(mask, spacing=VOXELS, per_slice=True)
    discs = [set(stack[:, :, index].ravel().tolist()) - {0} for index in range(33)]
    assert all(len(found) <= 1 for found in discs)
    assert [number for found in discs for number in found] == list(range(1, 30))  # slices 2 to 30 have a disc


def test_a_stack_is_divided_image_by_image() -> None:
    images = [TWO_DISCS, np.zeros_like(TWO_DISCS), balls((15, 15), radius=10, shape=TWO_DISCS.shape)]
    stack = divided(np.stack(images, axis=2), spacing=VOXELS, per_slice=True)
    np.testing.assert_array_equal(stack[:, :, 0], divided(TWO_DISCS))
    np.testing.assert_array_equal(stack[:, :, 2], images[2] * 3)
    assert not stack[:, :, 1].any()


def test_an_image_is_a_volume_of_one_slice() -> None:
    for per_slice in (False, True):
        instances = divided(TWO_DISCS[:, :, None], spacing=VOXELS, per_slice=per_slice)
        np.testing.assert_array_equal(instances[:, :, 0], divided(TWO_DISCS))


@pytest.mark.parametrize("full", [False, True])
def test_a_mask_of_nothing_or_of_everything_has_nothing_to_divide(full: bool) -> None:
    mask = np.full((4, 5, 2), full)
    assert divided(mask, spacing=VOXELS).tolist() == mask.astype(int).tolist()
    assert divided(mask, spacing=VOXELS, per_slice=True).max() == 2 * full


@pytest.mark.parametrize("shape", [(40, 37), (16, 15, 12)])
@pytest.mark.parametrize("seed", range(4))
def test_every_voxel_of_the_mask_is_in_one_instance_which_is_connected(seed: int, shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(seed)
    mask = ndimage.gaussian_filter(generator.standard_normal(shape), 1.5) > 0.02
    for per_slice in (False, True):
        instances = divided(mask, spacing=(1.0,) * len(shape), per_slice=per_slice)
        np.testing.assert_array_equal(instances > 0, mask)
        parts = instances_of(mask, per_slice=per_slice)
        for number in range(1, instances.max() + 1):
            inside = instances == number
            assert len(set(parts[inside].tolist())) == 1  # it reaches over no gap
            assert instances_of(inside, per_slice=per_slice).max() == 1  # and is there in one piece


def test_the_same_mask_is_always_divided_in_the_same_way() -> None:
    mask = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((60, 60)), 2) > 0
    np.testing.assert_array_equal(divided(mask), divided(mask.copy()))


def test_a_name_that_is_no_label_is_refused() -> None:
    config = InferenceConfig(watershed=WatershedConfig(labels=("nuclei", "spleen")))
    check_watershed(config, {"nuclei": 1, "spleen": 2})
    check_watershed(InferenceConfig(), {"nuclei": 1})
    with pytest.raises(
        ConfigError, match=r"labels \(nuclei\) in inference\.watershed\.labels; found spleen\. Correct these names"
    ):
        check_watershed(config, {"nuclei": 1})
