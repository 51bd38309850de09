from math import ceil, cos, radians, sin, sqrt

import pytest

from pipeline.augmentation.source import source_size
from tests.augmentation.configs import only


def test_without_rotating_and_scaling_the_source_is_the_patch() -> None:
    assert source_size((16, 20, 12), only()) == (16, 20, 12)


def test_the_source_holds_the_patch_at_the_largest_angle() -> None:
    # about the third axis: 40 cos 30 + 30 sin 30 = 49.64, 30 cos 30 + 40 sin 30 = 45.98
    assert source_size((40, 30, 20), only(rotation=1.0, rotation_degrees=(0, 0, 30))) == (50, 46, 20)


def test_each_axis_takes_the_largest_of_the_three_rotations() -> None:
    t = radians(10)
    # the first axis turns about the second and third, and reaches furthest with the longer partner
    expected = [40 * cos(t) + 30 * sin(t), 30 * cos(t) + 40 * sin(t), 20 * cos(t) + 40 * sin(t)]
    config = only(rotation=1.0, rotation_degrees=(10, 10, 10))
    assert source_size((40, 30, 20), config) == tuple(ceil(side) for side in expected)


@pytest.mark.parametrize("degrees", [60.0, 90.0, 180.0])
def test_no_angle_needs_more_than_the_diagonal(degrees: float) -> None:
    config = only(rotation=1.0, rotation_degrees=(0, 0, degrees))
    assert source_size((40, 30, 20), config) == (50, 50, 20)  # sqrt(40^2 + 30^2)


def test_a_long_patch_is_widest_before_the_largest_angle() -> None:
    # 64 cos t + 16 sin t is largest at tan t = 1/4, about 14 degrees
    config = only(rotation=1.0, rotation_degrees=(0, 0, 30))
    assert source_size((64, 16, 16), config)[0] == ceil(sqrt(64**2 + 16**2))


def test_shrinking_by_half_needs_twice_as_many_voxels() -> None:
    assert source_size((16, 20, 12), only(scaling=1.0, scaling_range=(0.5, 1.4))) == (32, 40, 24)
    assert source_size((16, 20, 12), only(scaling=1.0, scaling_range=(1.1, 1.4))) == (16, 20, 12)


def test_an_image_turns_in_its_plane_alone() -> None:
    # 40 cos 30 + 30 sin 30 = 49.64, 30 cos 30 + 40 sin 30 = 45.98; the first two angles do not count
    assert source_size((40, 30), only(rotation=1.0, rotation_degrees=(80, 80, 30))) == (50, 46)


def test_an_image_is_read_as_large_as_the_slices_of_a_volume_that_turns_about_the_third_axis() -> None:
    config = only(rotation=1.0, rotation_degrees=(0, 0, 25), scaling=1.0, scaling_range=(0.7, 1.4))
    assert source_size((64, 16), config) == source_size((64, 16, 16), config)[:2]
