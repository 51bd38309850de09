"""Augmentation of 3D patches with MONAI's random transforms.

Arrays are C I J K. A patch arrives larger than the network's input by what rotating and scaling can pull in from
outside, so that no empty corners are trained on, and leaves at its final size.
"""

from collections.abc import Callable
from math import pi
from typing import Any

import numpy as np
import torch
from monai import transforms as mt
from numpy.typing import NDArray

from pipeline.augmentation.intensities import if_on, intensities, seeded
from pipeline.augmentation.sample import Sample, label_tensor
from pipeline.config.augmentation import AugmentationConfig

MODES = {"image": "bilinear", "labels": "nearest", "weights": "bilinear"}
"""How each part of a sample is interpolated."""
PARTS = tuple(MODES)


class VolumeAugmentation:
    """Draws and applies the changes of one sample; the same seed gives the same sample in any process.

    Args:
        config: probabilities and ranges.
        patch_size: size of the result (I, J, K).
    """

    def __init__(self, config: AugmentationConfig, patch_size: tuple[int, ...]) -> None:
        self.config = config
        self.crop = mt.CenterSpatialCropd(PARTS, patch_size, allow_missing_keys=True)
        self.affine = {
            (rotate, scale): _affine(config, patch_size, rotate=rotate, scale=scale)
            for rotate, scale in ((True, False), (False, True), (True, True))
        }
        self.after = mt.Compose([*_elastic(config, patch_size), *_mirror(config), *intensities(config, 3)])

    def __call__(
        self,
        image: NDArray[np.float32],
        labels: NDArray[np.integer],
        rng: np.random.Generator,
        *,
        weights: NDArray[np.float32] | None = None,
    ) -> Sample:
        """Augment a patch, as `Augmentation` says; arrays are (C, I, J, K)."""
        sample = {"image": torch.from_numpy(image), "labels": label_tensor(labels)}
        if weights is not None:
            sample["weights"] = torch.from_numpy(weights)
        dtypes = {name: part.dtype for name, part in sample.items()} | {"image": torch.float32}
        spatial = self._spatial(rng)
        sample = seeded(self.after, rng)(spatial(sample))
        return {name: part.to(dtypes[name]).contiguous() for name, part in sample.items()}

    def _spatial(self, rng: np.random.Generator) -> Callable[[Sample], Sample]:
        choice = (bool(rng.random() < self.config.rotation), bool(rng.random() < self.config.scaling))
        transform: Any = seeded(self.affine[choice], rng) if any(choice) else self.crop
        return transform


def _affine(config: AugmentationConfig, patch_size: tuple[int, ...], *, rotate: bool, scale: bool) -> mt.RandAffined:
    smaller, larger = config.scaling_range
    # MONAI scales the sampling grid, so that a factor of 2 halves what is seen; and it adds the 1 itself
    factors = (1 / larger - 1, 1 / smaller - 1)
    return mt.RandAffined(
        PARTS,
        prob=1.0,
        spatial_size=patch_size,
        rotate_range=[degrees * pi / 180 for degrees in config.rotation_degrees] if rotate else None,
        scale_range=[factors] * 3 if scale else None,
        mode=tuple(MODES.values()),
        padding_mode="zeros",
        allow_missing_keys=True,
    )


def _elastic(config: AugmentationConfig, patch_size: Any) -> list[Any]:
    return if_on(
        config.elastic,
        lambda prob: mt.Rand3DElasticd(
            PARTS,
            prob=prob,
            spatial_size=patch_size,
            sigma_range=config.elastic_sigma_voxels,
            magnitude_range=config.elastic_magnitude_voxels,
            mode=tuple(MODES.values()),
            padding_mode="zeros",
            allow_missing_keys=True,
        ),
    )


def _mirror(config: AugmentationConfig) -> list[Any]:
    return [mt.RandFlipd(PARTS, prob=0.5, spatial_axis=axis, allow_missing_keys=True) for axis in config.mirror_axes]
