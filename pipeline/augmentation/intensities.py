"""Changes of the intensities of patches, the same for volumes and images, with MONAI's random transforms.

They take normalised images of any number of channels as they are. Albumentations' own would not do for images: most of
them cut float images off at 0 and 1, or make eight bits of them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from monai import transforms as mt
from monai.data.meta_obj import set_track_meta

from pipeline.augmentation.sample import MAX_SEED
from pipeline.config.augmentation import AugmentationConfig

IMAGE = ("image",)
INTERPOLATION = {2: "bilinear", 3: "trilinear"}
"""By the number of axes."""

set_track_meta(False)  # patches have no file and no affine any more; tracking them costs time


def intensities(config: AugmentationConfig, dimensions: int) -> list[Any]:
    """The transforms of "image" that are switched on, in the order in which they are applied."""
    sigma = config.blur_sigma_voxels
    return [
        *if_on(config.noise, lambda p: mt.RandGaussianNoised(IMAGE, prob=p, std=config.noise_std, sample_std=True)),
        *if_on(config.blur, lambda p: mt.RandGaussianSmoothd(IMAGE, sigma, sigma, sigma, prob=p)),
        *if_on(config.brightness, lambda p: mt.RandScaleIntensityd(IMAGE, _about_one(config.brightness_range), prob=p)),
        *if_on(
            config.contrast,
            lambda p: mt.RandScaleIntensityFixedMeand(
                IMAGE, factors=_about_one(config.contrast_range), fixed_mean=True, preserve_range=True, prob=p
            ),
        ),
        *if_on(
            config.low_resolution,
            lambda p: mt.RandSimulateLowResolutiond(
                IMAGE, prob=p, upsample_mode=INTERPOLATION[dimensions], zoom_range=config.low_resolution_range
            ),
        ),
        *if_on(config.gamma_inverted, lambda p: _gamma(config, p, inverted=True)),
        *if_on(config.gamma, lambda p: _gamma(config, p, inverted=False)),
    ]


def if_on(probability: float, make: Callable[[float], Any]) -> list[Any]:
    """A transform of some probability, or none where that is 0."""
    return [make(probability)] if probability > 0 else []


def seeded(transform: Any, rng: np.random.Generator) -> Any:
    """The transform, whose next random numbers follow from those of ``rng``."""
    return transform.set_random_state(seed=int(rng.integers(MAX_SEED)))


def _gamma(config: AugmentationConfig, probability: float, *, inverted: bool) -> mt.RandAdjustContrastd:
    return mt.RandAdjustContrastd(
        IMAGE, prob=probability, gamma=config.gamma_range, invert_image=inverted, retain_stats=True
    )


def _about_one(factors: tuple[float, float]) -> tuple[float, float]:
    """MONAI adds 1 to the factors that it draws."""
    return factors[0] - 1, factors[1] - 1
