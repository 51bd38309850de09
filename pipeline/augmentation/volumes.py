"""Augmentation of 3D patches with MONAI's random transforms; the only user of them.

Arrays are C I J K. A patch arrives larger than the network's input by what rotating and scaling can pull in from
outside, so that no empty corners are trained on, and leaves at its final size.
"""

from collections.abc import Callable
from math import atan2, cos, pi, radians, sin
from typing import Any

import numpy as np
import torch
from monai import transforms as mt
from monai.data.meta_obj import set_track_meta
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config.augmentation import AugmentationConfig

BOTH = ("image", "labels")
MAX_SEED = 2**31
Sample = dict[str, Tensor]

set_track_meta(False)  # patches have no file and no affine any more; tracking them costs time


def source_size(patch_size: tuple[int, ...], config: AugmentationConfig) -> tuple[int, ...]:
    """Voxels to read around a patch's centre so that rotating and scaling find image everywhere inside it.

    A box of sides (a, b) turned by an angle t about the third axis fits into sides (a cos t + b sin t, b cos t +
    a sin t); the first grows until tan t = b/a and shrinks again beyond, so the angle counts up to there. Shrinking
    the image by a factor f needs 1/f as many voxels.
    """
    size = np.array(patch_size, dtype=float)
    if config.rotation > 0:
        size = np.max([_turned(size, axis, config.rotation_degrees[axis]) for axis in range(3)], axis=0)
    if config.scaling > 0:
        size = size / min(1.0, config.scaling_range[0])
    return tuple(int(n) for n in np.ceil(size))


class VolumeAugmentation:
    """Draws and applies the changes of one sample; the same seed gives the same sample in any process.

    Args:
        config: probabilities and ranges.
        patch_size: size of the result (I, J, K).
    """

    def __init__(self, config: AugmentationConfig, patch_size: tuple[int, ...]) -> None:
        self.config = config
        self.crop = mt.CenterSpatialCropd(BOTH, patch_size)
        self.affine = {
            (rotate, scale): _affine(config, patch_size, rotate=rotate, scale=scale)
            for rotate, scale in ((True, False), (False, True), (True, True))
        }
        self.after = mt.Compose([*_elastic(config, patch_size), *_mirror(config), *_intensity(config)])

    def __call__(self, image: NDArray[np.float32], labels: NDArray[np.integer], rng: np.random.Generator) -> Sample:
        """Augment a patch.

        Args:
            image: (C, I, J, K), of `source_size`.
            labels: class numbers (1, I, J, K), of the same size.
            rng: the sample's own generator.

        Returns:
            "image" (C, i, j, k) float32 and "labels" (1, i, j, k) uint8, of the patch's size.
        """
        sample = {"image": torch.from_numpy(image), "labels": torch.from_numpy(labels)}
        spatial = self._spatial(rng)
        sample = _seeded(self.after, rng)(spatial(sample))
        return {"image": sample["image"].float().contiguous(), "labels": sample["labels"].to(torch.uint8).contiguous()}

    def _spatial(self, rng: np.random.Generator) -> Callable[[Sample], Sample]:
        choice = (bool(rng.random() < self.config.rotation), bool(rng.random() < self.config.scaling))
        transform: Any = _seeded(self.affine[choice], rng) if any(choice) else self.crop
        return transform


def _seeded(transform: Any, rng: np.random.Generator) -> Any:
    return transform.set_random_state(seed=int(rng.integers(MAX_SEED)))


def _turned(size: NDArray, axis: int, degrees: float) -> NDArray:
    turned = size.copy()
    a, b = (other for other in range(3) if other != axis)
    turned[a] = _largest_side(size[a], size[b], radians(abs(degrees)))
    turned[b] = _largest_side(size[b], size[a], radians(abs(degrees)))
    return turned


def _largest_side(own: float, other: float, largest_angle: float) -> float:
    angle = min(largest_angle, atan2(other, own))
    return own * cos(angle) + other * sin(angle)


def _affine(config: AugmentationConfig, patch_size: tuple[int, ...], *, rotate: bool, scale: bool) -> mt.RandAffined:
    smaller, larger = config.scaling_range
    # MONAI scales the sampling grid, so that a factor of 2 halves what is seen; and it adds the 1 itself
    factors = (1 / larger - 1, 1 / smaller - 1)
    return mt.RandAffined(
        BOTH,
        prob=1.0,
        spatial_size=patch_size,
        rotate_range=[degrees * pi / 180 for degrees in config.rotation_degrees] if rotate else None,
        scale_range=[factors] * 3 if scale else None,
        mode=("bilinear", "nearest"),
        padding_mode="zeros",
    )


def _elastic(config: AugmentationConfig, patch_size: Any) -> list[Any]:
    return _if(
        config.elastic,
        lambda prob: mt.Rand3DElasticd(
            BOTH,
            prob=prob,
            spatial_size=patch_size,
            sigma_range=config.elastic_sigma_voxels,
            magnitude_range=config.elastic_magnitude_voxels,
            mode=("bilinear", "nearest"),
            padding_mode="zeros",
        ),
    )


def _mirror(config: AugmentationConfig) -> list[Any]:
    return [mt.RandFlipd(BOTH, prob=0.5, spatial_axis=axis) for axis in config.mirror_axes]


def _intensity(config: AugmentationConfig) -> list[Any]:
    image = ("image",)
    sigma = config.blur_sigma_voxels
    return [
        *_if(config.noise, lambda p: mt.RandGaussianNoised(image, prob=p, std=config.noise_std, sample_std=True)),
        *_if(config.blur, lambda p: mt.RandGaussianSmoothd(image, sigma, sigma, sigma, prob=p)),
        *_if(config.brightness, lambda p: mt.RandScaleIntensityd(image, _about_one(config.brightness_range), prob=p)),
        *_if(
            config.contrast,
            lambda p: mt.RandScaleIntensityFixedMeand(
                image, factors=_about_one(config.contrast_range), fixed_mean=True, preserve_range=True, prob=p
            ),
        ),
        *_if(
            config.low_resolution,
            lambda p: mt.RandSimulateLowResolutiond(image, prob=p, zoom_range=config.low_resolution_range),
        ),
        *_if(config.gamma_inverted, lambda p: _gamma(config, p, inverted=True)),
        *_if(config.gamma, lambda p: _gamma(config, p, inverted=False)),
    ]


def _gamma(config: AugmentationConfig, probability: float, *, inverted: bool) -> mt.RandAdjustContrastd:
    return mt.RandAdjustContrastd(
        ("image",), prob=probability, gamma=config.gamma_range, invert_image=inverted, retain_stats=True
    )


def _about_one(factors: tuple[float, float]) -> tuple[float, float]:
    """MONAI adds 1 to the factors that it draws."""
    return factors[0] - 1, factors[1] - 1


def _if(probability: float, make: Callable[[float], Any]) -> list[Any]:
    return [make(probability)] if probability > 0 else []
