from math import ceil, cos, radians, sin, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.augmentation.volumes import Sample, VolumeAugmentation, source_size
from pipeline.config.augmentation import AugmentationConfig

OFF = {
    name: 0.0
    for name, field in AugmentationConfig.model_fields.items()
    if isinstance(field.default, float) and name != "noise_std"
}
PATCH = (16, 20, 12)


def only(**settings: Any) -> AugmentationConfig:
    """All transforms off but these."""
    return AugmentationConfig.model_validate(OFF | {"mirror_axes": ()} | settings)


EVERYTHING = AugmentationConfig.model_validate(
    dict.fromkeys(OFF, 1.0) | {"elastic_magnitude_voxels": (5.0, 20.0), "elastic_sigma_voxels": (2.0, 3.0)}
)


def draw(config: AugmentationConfig, image: NDArray, labels: NDArray, seed: int = 0, patch: Any = PATCH) -> Sample:
    return VolumeAugmentation(config, patch)(image.copy(), labels.copy(), np.random.default_rng(seed))


def example(
    config: AugmentationConfig, patch: tuple[int, ...] = PATCH
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """An image (2, ...) of noise and labels (1, ...) of the size that the augmentation asks for."""
    rng, size = np.random.default_rng(0), source_size(patch, config)
    return rng.standard_normal((2, *size)).astype(np.float32), rng.integers(0, 4, (1, *size)).astype(np.uint8)


def ball(size: tuple[int, ...], radius: float, centre: tuple[float, ...] = (0, 0, 0)) -> NDArray[np.uint8]:
    """A ball (1, ...) about a point given from the middle of the volume."""
    index = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in size), indexing="ij")
    return (sum((i - c) ** 2 for i, c in zip(index, centre, strict=True)) < radius**2).astype(np.uint8)[None]


def test_with_everything_switched_off_the_sample_is_the_middle_of_the_source() -> None:
    rng = np.random.default_rng(0)
    image, labels = rng.standard_normal((2, 9, 8, 7)).astype(np.float32), rng.integers(0, 3, (1, 9, 8, 7))
    sample = draw(only(), image, labels.astype(np.uint8), patch=(5, 4, 7))
    np.testing.assert_array_equal(sample["image"], image[:, 2:7, 2:6])
    np.testing.assert_array_equal(sample["labels"], labels[:, 2:7, 2:6])
    assert sample["image"].dtype == torch.float32
    assert sample["labels"].dtype == torch.uint8


@pytest.mark.parametrize("config", [AugmentationConfig(), EVERYTHING], ids=["defaults", "everything"])
@pytest.mark.filterwarnings("error")
def test_a_sample_has_the_patch_s_size_valid_labels_and_finite_values(config: AugmentationConfig) -> None:
    image, labels = example(config)
    augment = VolumeAugmentation(config, PATCH)
    for seed in range(4):
        sample = augment(image.copy(), labels.copy(), np.random.default_rng(seed))
        assert sample["image"].shape == (2, *PATCH)
        assert sample["labels"].shape == (1, *PATCH)
        assert sample["image"].isfinite().all()
        assert set(sample["labels"].unique().tolist()) <= {0, 1, 2, 3}
        assert type(sample["image"]) is torch.Tensor


def test_the_same_seed_gives_the_same_sample_whatever_was_drawn_before() -> None:
    image, labels = example(EVERYTHING)
    augment = VolumeAugmentation(EVERYTHING, PATCH)
    for seed in (3, 1):
        augment(image.copy(), labels.copy(), np.random.default_rng(seed))
    torch.manual_seed(99)
    np.random.seed(99)
    again = augment(image.copy(), labels.copy(), np.random.default_rng(7))
    fresh = draw(EVERYTHING, image, labels, seed=7)
    assert torch.equal(again["image"], fresh["image"])
    assert torch.equal(again["labels"], fresh["labels"])


def test_another_seed_gives_another_sample() -> None:
    image, labels = example(EVERYTHING)
    one, other = (draw(EVERYTHING, image, labels, seed)["image"] for seed in (0, 1))
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    "config",
    [
        only(rotation=1.0),
        only(scaling=1.0),
        only(rotation=1.0, scaling=1.0, mirror_axes=(0, 1, 2)),
        only(elastic=1.0, elastic_magnitude_voxels=(5.0, 20.0), elastic_sigma_voxels=(2.0, 3.0)),
    ],
    ids=["rotation", "scaling", "both and mirrored", "elastic"],
)
def test_the_labels_stay_where_the_image_is(config: AugmentationConfig) -> None:
    patch = (24, 24, 24)
    labels = ball(source_size(patch, config), 7.0, (3.0, -2.0, 1.0))
    for seed in range(4):
        sample = draw(config, labels.astype(np.float32), labels, seed, patch)
        in_image, in_labels = sample["image"] > 0.5, sample["labels"] == 1
        assert in_labels.sum() > 100
        assert (in_image != in_labels).sum() < 0.12 * in_labels.sum()  # linear and nearest differ at the surface
        centres = [mask[0].nonzero().float().mean(0) for mask in (in_image, in_labels)]
        assert (centres[0] - centres[1]).abs().max() < 0.2


@pytest.mark.parametrize("axes", [(), (0,), (1, 2), (0, 1, 2)])
def test_patches_are_mirrored_along_the_given_axes_alone(axes: tuple[int, ...]) -> None:
    config = only(mirror_axes=axes)
    image, labels = example(config)
    seen = set()
    for seed in range(40):
        sample = draw(config, image, labels, seed)
        flips = [
            chosen
            for chosen in ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
            if np.array_equal(sample["image"], np.flip(image, tuple(axis + 1 for axis in chosen)))
        ]
        assert len(flips) == 1
        np.testing.assert_array_equal(sample["labels"], np.flip(labels, tuple(axis + 1 for axis in flips[0])))
        seen.add(flips[0])
    assert len(seen) == 2 ** len(axes)
    assert {axis for flip in seen for axis in flip} == set(axes)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_rotation_about_an_axis_leaves_that_axis_alone(axis: int) -> None:
    degrees = [0.0, 0.0, 0.0]
    degrees[axis] = 40.0
    config, patch = only(rotation=1.0, rotation_degrees=tuple(degrees)), (16, 16, 16)
    size = source_size(patch, config)
    assert size[axis] == 16
    ramp = np.broadcast_to(np.arange(16).reshape([16 if a == axis else 1 for a in range(3)]), size)
    sample = draw(config, ramp.astype(np.float32)[None], ramp.astype(np.uint8)[None], 1, patch)
    expected = np.broadcast_to(np.arange(16).reshape([16 if a == axis else 1 for a in range(3)]), patch)
    np.testing.assert_allclose(sample["image"][0], expected, atol=1e-3)  # and no zeros came in from outside


@pytest.mark.parametrize(("factor", "volume"), [(0.5, 1 / 8), (1.0, 1.0), (1.5, 27 / 8)])
def test_a_factor_below_1_makes_structures_smaller(factor: float, volume: float) -> None:
    config, patch = only(scaling=1.0, scaling_range=(factor, factor)), (24, 24, 24)
    labels = ball(source_size(patch, config), 7.0)
    sample = draw(config, labels.astype(np.float32), labels, 0, patch)
    assert int(sample["labels"].sum()) == pytest.approx(int(labels.sum()) * volume, rel=0.15)


@pytest.mark.parametrize("config", [only(rotation=1.0, rotation_degrees=(0, 0, 30)), only(scaling=1.0)])
@pytest.mark.parametrize("patch", [(12, 12, 12), (32, 8, 8)])
def test_no_empty_corners_come_in_from_outside(config: AugmentationConfig, patch: tuple[int, ...]) -> None:
    ones = np.ones((1, *source_size(patch, config)), np.float32)
    augment = VolumeAugmentation(config, patch)
    for seed in range(10):
        sample = augment(ones.copy(), ones.astype(np.uint8), np.random.default_rng(seed))
        assert sample["image"].min() > 0.999, seed


@pytest.mark.parametrize(
    "name", ["noise", "blur", "brightness", "contrast", "low_resolution", "gamma", "gamma_inverted"]
)
def test_intensities_change_and_labels_do_not(name: str) -> None:
    config = only(**{name: 1.0})
    image, labels = example(config)
    sample = draw(config, image, labels)
    assert not np.allclose(sample["image"], image, atol=1e-3)
    np.testing.assert_array_equal(sample["labels"], labels)


def test_brightness_multiplies_within_its_range() -> None:
    config = only(brightness=1.0, brightness_range=(0.5, 0.8))
    image, labels = example(config)
    for seed in range(10):
        factors = draw(config, image, labels, seed)["image"].numpy() / image
        assert factors.min() >= 0.5
        assert factors.max() <= 0.8


def test_contrast_stretches_about_the_mean_within_the_range() -> None:
    config = only(contrast=1.0, contrast_range=(0.5, 0.5))
    image, labels = example(config)
    image = image[:1] + 3
    expected = (image - image.mean()) * 0.5 + image.mean()
    np.testing.assert_allclose(draw(config, image, labels)["image"], expected, atol=1e-4)


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
