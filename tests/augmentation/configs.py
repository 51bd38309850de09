"""Augmentations of which only some transforms are switched on."""

from typing import Any

from pipeline.config.augmentation import AugmentationConfig

INTENSITIES = ("noise", "blur", "brightness", "contrast", "low_resolution", "gamma", "gamma_inverted")
SHARED = ("rotation", "scaling", "elastic", *INTENSITIES)
"""The probabilities that volumes and images have in common."""
OFF: dict[str, Any] = dict.fromkeys(SHARED, 0.0) | {"mirror_axes": ()}
"""The others are off by default."""


def only(**settings: Any) -> AugmentationConfig:
    """All transforms off but these."""
    return AugmentationConfig.model_validate(OFF | settings)
