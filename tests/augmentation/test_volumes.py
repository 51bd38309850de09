from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.augmentation.sample import Sample
from pipeline.augmentation.source import source_size
from pipeline.augmentation.volumes import VolumeAugmentation
from pipeline.config.augmentation import AugmentationConfig
from tests.augmentation.configs import INTENSITIES, SHARED, only

PATCH = (16, 20, 12)
EVERYTHING = AugmentationConfig.model_validate(
    dict.fromkeys(SHARED, 1.0) | {"elastic_magnitude_voxels": (5.0, 20.0), "elastic_sigma_voxels": (2.0, 3.0)}
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


def test_weights_move_with_the_image_and_change_neither_it_nor_the_labels() -> None:
    config = only(rotation=1.0, scaling=1.0, elastic=0.5, elastic_magnitude_voxels=(5.0, 20.0), mirror_axes=(0, 1, 2))
    image, labels = example(config)
    augment = VolumeAugmentation(config, PATCH)
    for seed in range(4):
        plain = augment(image.copy(), labels.copy(), np.random.default_rng(seed))
        weighted = augment(image.copy(), labels.copy(), np.random.default_rng(seed), weights=image[:1].copy())
        assert sorted(plain) == ["image", "labels"]
        assert torch.equal(weighted["image"], plain["image"])
        assert torch.equal(weighted["labels"], plain["labels"])
        assert torch.equal(weighted["weights"], plain["image"][:1])


def test_weights_keep_their_values_where_intensities_change() -> None:
    config = only(**dict.fromkeys(INTENSITIES, 1.0))
    image, labels = example(config)
    rng = np.random.default_rng(0)
    sample = VolumeAugmentation(config, PATCH)(image.copy(), labels, rng, weights=image[:1].copy())
    np.testing.assert_array_equal(sample["weights"], image[:1])
    assert not np.allclose(sample["image"][:1], image[:1], atol=1e-3)


def test_class_numbers_above_255_are_kept() -> None:
    config = only()
    image, labels = example(config)
    wide = labels.astype(np.uint16) + 1000
    sample = VolumeAugmentation(config, PATCH)(image, wide, np.random.default_rng(0))
    np.testing.assert_array_equal(sample["labels"], wide)


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


@pytest.mark.parametrize("name", INTENSITIES)
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
