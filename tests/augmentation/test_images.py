import subprocess
import sys
from collections.abc import Callable
from itertools import product
from math import atan2, degrees, pi, sqrt
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pipeline.augmentation.images import ImageAugmentation, elastic_offsets
from pipeline.augmentation.sample import Sample
from pipeline.augmentation.source import source_size
from pipeline.augmentation.volumes import VolumeAugmentation
from pipeline.config.augmentation import IMAGES_ALONE, AugmentationConfig
from pipeline.errors import ConfigError
from tests.augmentation.configs import INTENSITIES, SHARED, only

ROOT = Path(__file__).resolve().parents[2]
PATCH = (40, 48)
MILD: dict[str, Any] = {"elastic_magnitude_voxels": (20.0, 40.0), "elastic_sigma_voxels": (4.0, 6.0)}
EVERYTHING = AugmentationConfig.model_validate(dict.fromkeys((*SHARED, *IMAGES_ALONE), 1.0) | MILD)
GEOMETRY = {
    "rotation": only(rotation=1.0),
    "scaling": only(scaling=1.0),
    "both and mirrored": only(rotation=1.0, scaling=1.0, mirror_axes=(0, 1)),
    "elastic": only(elastic=1.0, **MILD),
    "grid distortion": only(grid_distortion=1.0),
    "all": only(rotation=1.0, scaling=1.0, elastic=1.0, grid_distortion=1.0, mirror_axes=(0, 1), **MILD),
}
IDENTITY = only(
    **dict.fromkeys((*INTENSITIES, "colour"), 1.0),
    noise_std=0.0,
    blur_sigma_voxels=(0.0, 0.0),
    brightness_range=(1.0, 1.0),
    contrast_range=(1.0, 1.0),
    low_resolution_range=(1.0, 1.0),
    gamma_range=(1.0, 1.0),
    colour_hue_degrees=0.0,
    colour_saturation_range=(1.0, 1.0),
)


def draw(
    config: AugmentationConfig,
    image: NDArray,
    labels: NDArray,
    seed: int = 0,
    patch: tuple[int, ...] = PATCH,
    weights: NDArray | None = None,
) -> Sample:
    rng = np.random.default_rng(seed)
    return ImageAugmentation(config, patch)(image.copy(), labels.copy(), rng, weights=weights)


def example(
    config: AugmentationConfig, patch: tuple[int, ...] = PATCH, channels: int = 3
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Noise (C, H, W) and labels (1, H, W) of the size that the augmentation asks for."""
    rng, size = np.random.default_rng(0), source_size(patch, config)
    image = rng.standard_normal((channels, *size)).astype(np.float32)
    return image, rng.choice(np.array([0, 1, 3, 255], np.uint8), (1, *size))


def smooth(size: tuple[int, ...], sigma: float = 4.0) -> NDArray[np.float32]:
    """An image (1, H, W) of blobs, of about unit deviation."""
    field = gaussian_filter(np.random.default_rng(0).standard_normal(size), sigma)
    return (field / field.std())[None].astype(np.float32)


def ramps(size: tuple[int, ...]) -> NDArray[np.float32]:
    """Each place holds its own coordinates, from the middle on (axes, ...): what is read says where it was read."""
    return np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in size), indexing="ij")).astype(np.float32)


def matrix_of(config: AugmentationConfig, patch: tuple[int, ...], seed: int) -> NDArray[np.float64]:
    """From places in the patch to places in the source, fitted to what was read."""
    make = ImageAugmentation if len(patch) == 2 else VolumeAugmentation
    source = ramps(source_size(patch, config))
    sample = make(config, patch)(source, np.zeros((1, *source.shape[1:]), np.uint8), np.random.default_rng(seed))
    places = ramps(patch).reshape(len(patch), -1).T
    fit, residuals, _, _ = np.linalg.lstsq(places, sample["image"].numpy().reshape(len(patch), -1).T, rcond=None)
    assert residuals.max() < 1e-3
    return np.asarray(fit.T)


def same(one: Sample, other: Sample) -> bool:
    return sorted(one) == sorted(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_with_everything_switched_off_the_sample_is_the_middle_of_the_source() -> None:
    rng = np.random.default_rng(0)
    image, labels = rng.standard_normal((2, 9, 8)).astype(np.float32), rng.integers(0, 3, (1, 9, 8)).astype(np.uint8)
    sample = draw(only(), image, labels, patch=(5, 4), weights=image[:1])
    np.testing.assert_array_equal(sample["image"], image[:, 2:7, 2:6])
    np.testing.assert_array_equal(sample["labels"], labels[:, 2:7, 2:6])
    np.testing.assert_array_equal(sample["weights"], image[:1, 2:7, 2:6])
    assert {name: part.dtype for name, part in sample.items()} == {
        "image": torch.float32,
        "labels": torch.uint8,
        "weights": torch.float32,
    }


@pytest.mark.parametrize("patch", [(40, 48), (7, 3), (2, 1)])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_a_sample_has_the_patch_s_size_and_channels_valid_labels_and_finite_values(
    channels: int, patch: tuple[int, ...]
) -> None:
    config = EVERYTHING if channels == 3 else EVERYTHING.model_copy(update={"colour": 0.0})
    image, labels = example(config, patch, channels)
    augment = ImageAugmentation(config, patch)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        sample = augment(image.copy(), labels.repeat(2, 0), rng, weights=np.ones_like(labels, np.float32))
        assert sample["image"].shape == (channels, *patch)
        assert sample["labels"].shape == (2, *patch)
        assert sample["weights"].shape == (1, *patch)
        assert sample["image"].isfinite().all()
        assert set(sample["labels"].unique().tolist()) <= {0, 1, 3, 255}
        assert all(type(part) is torch.Tensor and part.is_contiguous() for part in sample.values())


def test_the_same_seed_gives_the_same_sample_whatever_was_drawn_before() -> None:
    image, labels = example(EVERYTHING)
    augment = ImageAugmentation(EVERYTHING, PATCH)
    for seed in (3, 1):
        augment(image.copy(), labels.copy(), np.random.default_rng(seed))
    torch.manual_seed(99)
    np.random.seed(99)
    cv2.setRNGSeed(99)
    again = augment(image.copy(), labels.copy(), np.random.default_rng(7))
    assert same(again, draw(EVERYTHING, image, labels, seed=7))


def test_the_order_in_which_samples_are_made_does_not_matter() -> None:
    image, labels = example(EVERYTHING)
    augment = ImageAugmentation(EVERYTHING, PATCH)
    forth, back = (
        {seed: augment(image.copy(), labels.copy(), np.random.default_rng(seed)) for seed in seeds}
        for seeds in ((0, 1, 2, 3), (3, 2, 1, 0))
    )
    assert all(same(forth[seed], back[seed]) for seed in forth)
    assert not torch.equal(forth[0]["image"], forth[1]["image"])


def test_a_sample_depends_neither_on_the_process_nor_on_its_threads() -> None:
    script = """
import hashlib, cv2, numpy as np, torch
from tests.augmentation.test_images import EVERYTHING, draw, example
torch.set_num_threads(3)
cv2.setNumThreads(3)
large = (256, 256)  # below, torch uses one thread anyway
for part in draw(EVERYTHING, *example(EVERYTHING, large), seed=5, patch=large).values():
    print(hashlib.sha256(part.numpy().tobytes()).hexdigest())
"""
    outputs = [
        subprocess.run([sys.executable, "-c", changed], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for changed in (script, script.replace("hreads(3)", "hreads(1)"))
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0].split()) == 2


def test_making_a_sample_leaves_the_numbers_of_threads_and_the_global_generators_as_they_were() -> None:
    image, labels = example(EVERYTHING)
    threads, torch_threads = cv2.getNumThreads(), torch.get_num_threads()
    state, numpy_state = torch.get_rng_state(), np.random.get_state(legacy=False)
    cv2.setNumThreads(2)
    torch.set_num_threads(2)
    try:
        draw(EVERYTHING, image, labels)
        assert cv2.getNumThreads() == torch.get_num_threads() == 2
    finally:
        cv2.setNumThreads(threads)
        torch.set_num_threads(torch_threads)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_equal(np.random.get_state(legacy=False), numpy_state)


@pytest.mark.parametrize("name", GEOMETRY)
def test_image_labels_and_weights_move_together(name: str) -> None:
    config, patch = GEOMETRY[name], (64, 64)
    image = smooth(source_size(patch, config))
    for seed in range(4):
        sample = draw(config, image, (image > 0.5).astype(np.uint8), seed, patch, weights=image)
        assert torch.equal(sample["weights"], sample["image"])
        in_image, in_labels = sample["image"] > 0.5, sample["labels"] == 1
        assert in_labels.sum() > 200
        assert not np.allclose(sample["image"], image[:, : patch[0], : patch[1]], atol=0.1)
        differ = in_image != in_labels  # linear and nearest differ along outlines alone
        assert differ.float().mean() < 0.05
        assert (sample["image"][differ] - 0.5).abs().max() < 0.5


def test_values_outside_0_to_1_survive_the_geometry() -> None:
    config = GEOMETRY["both and mirrored"]
    image = smooth(source_size(PATCH, config), 8.0) * 100 - 250
    sample = draw(config, image, np.zeros_like(image, np.uint8))
    assert sample["image"].max() > -150
    assert sample["image"].min() < -350


@pytest.mark.parametrize("axes", [(), (0,), (1,), (0, 1), (0, 1, 2)])
def test_patches_are_mirrored_along_the_given_axes_that_images_have(axes: tuple[int, ...]) -> None:
    config = only(mirror_axes=axes)
    image, labels = example(config)
    seen = set()
    for seed in range(30):
        sample = draw(config, image, labels, seed)
        flips = [
            chosen
            for chosen in ((), (0,), (1,), (0, 1))
            if np.array_equal(sample["image"], np.flip(image, tuple(axis + 1 for axis in chosen)))
        ]
        assert len(flips) == 1
        np.testing.assert_array_equal(sample["labels"], np.flip(labels, tuple(axis + 1 for axis in flips[0])))
        seen.add(flips[0])
    assert {axis for flip in seen for axis in flip} == set(axes) - {2}
    assert len(seen) == 2 ** len(set(axes) - {2})


@pytest.mark.parametrize(("factor", "area"), [(0.5, 1 / 4), (1.0, 1.0), (1.5, 9 / 4)])
def test_a_factor_below_1_makes_structures_smaller(factor: float, area: float) -> None:
    config, patch = only(scaling=1.0, scaling_range=(factor, factor)), (48, 48)
    labels = (np.hypot(*ramps(source_size(patch, config))) < 14).astype(np.uint8)[None]
    sample = draw(config, labels.astype(np.float32), labels, 0, patch)
    assert int(sample["labels"].sum()) == pytest.approx(int(labels.sum()) * area, rel=0.05)


@pytest.mark.parametrize("config", [only(rotation=1.0), only(scaling=1.0), GEOMETRY["both and mirrored"]])
@pytest.mark.parametrize("patch", [(24, 24), (64, 9)])
def test_no_empty_corners_come_in_from_outside(config: AugmentationConfig, patch: tuple[int, ...]) -> None:
    ones = np.ones((1, *source_size(patch, config)), np.float32)
    for seed in range(20):
        sample = draw(config, ones, ones.astype(np.uint8), seed, patch, weights=ones)
        assert sample["image"].min() > 0.999, seed
        assert sample["labels"].min() == 1, seed


def test_what_comes_in_from_outside_is_0_in_image_labels_and_weights() -> None:
    ones = np.ones((1, 32, 32), np.float32)  # a source that is smaller than what is asked for
    sample = draw(only(scaling=1.0, scaling_range=(0.5, 0.5)), ones, ones.astype(np.uint8) * 255, 0, (32, 32), ones)
    for name, inside in (("image", 1), ("labels", 255), ("weights", 1)):
        assert sample[name].unique().tolist() == [0, inside]
        assert (sample[name] != 0).sum() == 16**2
        assert (sample[name][0, 8:24, 8:24] == inside).all()


def test_class_numbers_above_255_are_kept() -> None:
    config = GEOMETRY["all"]
    image, labels = example(config, channels=1)
    wide = labels.astype(np.uint16) + 60000
    narrow, sample = (draw(config, image, each)["labels"] for each in (labels, wide))
    inside = sample != 0
    assert torch.equal(sample[inside] - 60000, narrow[inside].int())


@pytest.mark.parametrize("name", INTENSITIES)
def test_intensities_change_and_labels_and_weights_do_not(name: str) -> None:
    config = only(**{name: 1.0})
    image, labels = example(config)
    sample = draw(config, image, labels, weights=image[:1])
    assert not np.allclose(sample["image"], image, atol=1e-3)
    np.testing.assert_array_equal(sample["labels"], labels)
    np.testing.assert_array_equal(sample["weights"], image[:1])


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_at_settings_that_change_nothing_all_intensity_transforms_give_the_image_back(channels: int) -> None:
    config = IDENTITY if channels == 3 else IDENTITY.model_copy(update={"colour": 0.0})
    image, labels = example(config, channels=channels)
    image = image * 3 - 2
    assert image.min() < -10
    for seed in range(4):
        np.testing.assert_allclose(draw(config, image, labels, seed)["image"], image, atol=1e-3)


def test_a_patch_of_one_value_stays_finite_under_colour_and_compression() -> None:
    image = np.full((3, *PATCH), -1.5, np.float32)
    sample = draw(only(colour=1.0, compression=1.0), image, np.zeros((1, *PATCH), np.uint8))
    np.testing.assert_array_equal(sample["image"], image)


def hsv(image: NDArray) -> NDArray:
    """Hue in degrees, saturation and value (3, H, W) of an image within [0, 1]."""
    return np.moveaxis(cv2.cvtColor(np.ascontiguousarray(np.moveaxis(image, 0, -1)), cv2.COLOR_RGB2HSV), -1, 0)


def pastels() -> NDArray:
    """Colours (3, H, W) of all hues and half saturation, with a black and a white corner that span [0, 1]."""
    hue = np.random.default_rng(0).uniform(0, 360, PATCH)
    parts = np.stack([hue, np.full(PATCH, 0.5), np.full(PATCH, 0.7)], axis=-1).astype(np.float32)
    image = np.moveaxis(cv2.cvtColor(parts, cv2.COLOR_HSV2RGB), -1, 0).copy()
    image[:, 0, 0], image[:, -1, -1] = 0, 1
    return image


def test_colour_turns_the_hue_within_its_range_and_leaves_the_value() -> None:
    config = only(colour=1.0, colour_hue_degrees=15.0, colour_saturation_range=(1.0, 1.0))
    before = pastels()
    turns = []
    for seed in range(60):
        # normalised, so that the image is neither within [0, 1] nor of its size
        sample = draw(config, before * 4 - 2, np.zeros((1, *PATCH), np.uint8), seed)
        after = (sample["image"].numpy() + 2) / 4
        turn = ((hsv(after) - hsv(before))[0] + 180) % 360 - 180
        np.testing.assert_allclose(turn[1:-1], np.median(turn), atol=0.1)
        np.testing.assert_allclose(hsv(after)[2], hsv(before)[2], atol=1e-4)
        turns.append(np.median(turn))
    assert 13 < max(turns) < 15.01
    assert -15.01 < min(turns) < -13


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.2])
def test_colour_scales_the_distance_from_grey(factor: float) -> None:
    config = only(colour=1.0, colour_hue_degrees=0.0, colour_saturation_range=(factor, factor))
    before = pastels()
    after = (draw(config, before * 4 - 2, np.zeros((1, *PATCH), np.uint8))["image"].numpy() + 2) / 4
    grey = np.tensordot([0.299, 0.587, 0.114], before, 1)  # ITU-R BT.601
    np.testing.assert_allclose(after, np.clip(grey + factor * (before - grey), 0, 1), atol=1e-3)


def test_colour_of_an_image_without_colours_is_an_error_that_says_what_to_do() -> None:
    config = only(colour=0.1)
    with pytest.raises(ConfigError, match=r"three channels .* found an image of 1\. Set augmentation\.colour=0"):
        draw(config, *example(config, channels=1))


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_compression_loses_more_at_a_lower_quality_and_next_to_nothing_at_the_highest(channels: int) -> None:
    image = np.concatenate([smooth(PATCH) * (channel + 1) - channel for channel in range(channels)])
    labels = np.zeros((1, *PATCH), np.uint8)
    step = np.ptp(image) / 255
    errors = {}
    for quality in (1, 10, 50, 100):
        config = only(compression=1.0, compression_quality_range=(quality, quality))
        errors[quality] = np.abs(draw(config, image, labels)["image"].numpy() - image)
    assert errors[1].mean() > errors[10].mean() > errors[50].mean() > errors[100].mean()
    assert (
        errors[100].max() < (5 if channels == 3 else 2.1) * step
    )  # eight bits; colours are averaged over 2 x 2 pixels
    assert errors[10].max((1, 2)).min() > 2 * step  # in each channel


def recorded(function: Callable[..., Any], name: str, calls: list[str]) -> Callable[..., Any]:
    """The function, each call of which leaves the name in a list."""

    def call(*arguments: Any) -> Any:
        calls.append(name)
        return function(*arguments)

    return call


def test_transforms_happen_apart_from_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one seed for all of them, whatever is drawn first would happen in the same samples."""
    config = only(colour=0.5, compression=0.5)
    image, labels = pastels() * 4 - 2, np.zeros((1, *PATCH), np.uint8)
    augment, together = ImageAugmentation(config, PATCH), list[tuple[str, ...]]()
    for seed in range(200):
        happened: list[str] = []
        with monkeypatch.context() as patch:
            for name, kind in (("colour", type(augment.colour)), ("compression", type(augment.compression))):
                patch.setattr(kind, "get_params", recorded(kind.get_params, name, happened))
            augment(image.copy(), labels, np.random.default_rng(seed))
        together.append(tuple(happened))
    for outcome in ((), ("colour",), ("compression",), ("colour", "compression")):
        assert 25 < together.count(outcome) < 75  # 50 expected, deviation 6


@pytest.mark.parametrize("name", ["rotation", "scaling", "elastic", *INTENSITIES])
def test_transforms_are_as_frequent_as_those_of_volumes(name: str) -> None:
    config, samples = only(**{name: 0.3}, **MILD), 300
    changed = []
    for make, patch in ((ImageAugmentation, (8, 8)), (VolumeAugmentation, (8, 8, 2))):
        image, labels = example(config, patch, channels=1)
        augment = make(config, patch)
        middle = draw(only(), image, labels, patch=patch)["image"] if len(patch) == 2 else None
        if middle is None:
            middle = VolumeAugmentation(only(), patch)(image, labels, np.random.default_rng(0))["image"]
        changed.append(
            sum(
                not torch.equal(augment(image.copy(), labels, np.random.default_rng(seed))["image"], middle)
                for seed in range(samples)
            )
        )
    for count in changed:
        assert abs(count - 0.3 * samples) < 4 * sqrt(samples * 0.3 * 0.7)


@pytest.mark.parametrize("name", ["brightness", "noise"])
def test_ranges_are_those_of_volumes(name: str) -> None:
    config = only(**{name: 1.0}, brightness_range=(0.5, 0.8), noise_std=0.3)
    drawn = []
    for make, patch in ((ImageAugmentation, (16, 16)), (VolumeAugmentation, (16, 16, 1))):
        image, labels = example(config, patch, channels=1)
        augment = make(config, patch)
        samples = [augment(image.copy(), labels, np.random.default_rng(seed))["image"].numpy() for seed in range(300)]
        ratio = [np.median(sample / image) for sample in samples]
        drawn.append(ratio if name == "brightness" else [np.std(sample - image) for sample in samples])
    low, high = (0.5, 0.8) if name == "brightness" else (0.0, 0.3)
    for values in drawn:
        assert np.min(values) == pytest.approx(low, abs=0.02)
        assert np.max(values) == pytest.approx(high, abs=0.05)
        assert np.mean(values) == pytest.approx((low + high) / 2, abs=0.02)


def test_images_turn_as_volumes_do_about_the_third_axis() -> None:
    config = only(rotation=1.0, rotation_degrees=(0.0, 0.0, 30.0))
    for patch in ((8, 8), (8, 8, 8)):
        matrices = [matrix_of(config, patch, seed)[:2, :2] for seed in range(200)]
        angles = [degrees(atan2(m[1, 0], m[0, 0])) for m in matrices]
        assert all(np.allclose(m @ m.T, np.eye(2), atol=1e-3) for m in matrices)
        assert -30.01 < min(angles) < -28
        assert 28 < max(angles) < 30.01
        assert abs(np.mean(angles)) < 3.7  # three deviations of the mean: 3 * 17.3 / sqrt(200)
        assert np.std(angles) == pytest.approx(60 / sqrt(12), abs=1.8)


def test_the_first_two_angles_do_not_count_for_images() -> None:
    config = only(rotation=1.0, rotation_degrees=(30.0, 30.0, 0.0))
    np.testing.assert_allclose(matrix_of(config, (8, 8), 1), np.eye(2), atol=1e-5)


def test_images_are_scaled_as_volumes_are_along_each_axis_apart() -> None:
    config = only(scaling=1.0, scaling_range=(0.5, 1.6))
    for patch in ((8, 8), (8, 8, 8)):
        steps = np.array([np.diag(matrix_of(config, patch, seed))[:2] for seed in range(200)])
        assert steps.min() == pytest.approx(1 / 1.6, abs=0.03)
        assert steps.max() == pytest.approx(1 / 0.5, abs=0.03)
        np.testing.assert_allclose(steps.mean(0), (1 / 1.6 + 1 / 0.5) / 2, atol=0.09)  # deviation of the mean: 0.028
        assert abs(np.corrcoef(steps.T)[0, 1]) < 0.25


def test_rotation_and_scaling_together_are_a_volume_s_in_their_order() -> None:
    config = only(rotation=1.0, scaling=1.0, rotation_degrees=(0.0, 0.0, 40.0), scaling_range=(0.5, 1.6))
    for patch, seed in product(((8, 8), (8, 8, 8)), range(5)):
        gram = (matrix := matrix_of(config, patch, seed)[:2, :2]).T @ matrix
        assert gram[0, 1] == pytest.approx(0, abs=1e-3)  # (R S)^T R S = S^2, which R S^2 R^T would not be


@pytest.mark.parametrize("sigma", [0.5, 3.0, 6.5, 20.0])
def test_elastic_offsets_are_smoothed_noise(sigma: float) -> None:
    size, magnitude = (160, 200), 100.0
    drawn = [elastic_offsets(size, sigma, magnitude, rng=np.random.default_rng(seed)) for seed in range(12)]
    rng = np.random.default_rng(0)
    expected = [
        [gaussian_filter(rng.uniform(-1, 1, size), sigma, mode="wrap") * magnitude for _ in range(2)] for _ in range(12)
    ]
    ours, theirs = np.array(drawn), np.array(expected)
    assert ours.shape == theirs.shape == (12, 2, *size)
    assert abs(ours.mean()) < 0.5 * ours.std()
    assert ours.std() == pytest.approx(theirs.std(), rel=0.1)
    for axis in (2, 3):  # the slope is the spread over the smoothness
        assert np.gradient(ours, axis=axis).std() == pytest.approx(np.gradient(theirs, axis=axis).std(), rel=0.1)


def test_elastic_offsets_have_the_spread_that_is_promised() -> None:
    offsets = [elastic_offsets((200, 200), 6.5, 100.0, rng=np.random.default_rng(seed)) for seed in range(10)]
    assert np.std(offsets) == pytest.approx(100 / (2 * sqrt(3 * pi) * 6.5), rel=0.1)


def test_grid_distortion_without_a_limit_leaves_every_pixel_in_its_place() -> None:
    config = only(grid_distortion=1.0, grid_distortion_limit=0.0)
    image, labels = example(config)
    sample = draw(config, image, labels)
    np.testing.assert_allclose(sample["image"], image, atol=1e-4)
    np.testing.assert_array_equal(sample["labels"], labels)


def test_grid_distortion_keeps_order_and_stays_inside() -> None:
    config, patch = only(grid_distortion=1.0, grid_distortion_steps=4, grid_distortion_limit=0.5), (64, 50)
    for seed in range(10):
        sample = draw(config, ramps(patch), np.ones((1, *patch), np.uint8), seed, patch)
        rows, columns = sample["image"].numpy()
        assert sample["labels"].min() == 1
        assert (np.diff(rows, axis=0) > 0).all()
        assert (np.diff(columns, axis=1) > 0).all()
        assert np.abs(rows - ramps(patch)[0]).max() > 1
        np.testing.assert_allclose(rows, rows[:, :1].repeat(50, 1), atol=1e-4)  # whole rows move


def test_albumentations_asks_nothing_of_the_network() -> None:
    script = """
import socket
def refuse(*_, **__): raise AssertionError("asks the network")
socket.socket.connect = socket.getaddrinfo = refuse
import pipeline.augmentation.images, sys
from albumentations import check_version
assert check_version.opener is None
"""
    environment = {"PATH": "", "PYTHONWARNINGS": "error::UserWarning:albumentations"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
