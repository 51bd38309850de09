"""The one place that chooses between images and volumes."""

from pipeline.augmentation.sample import Augmentation
from pipeline.augmentation.source import PLANE
from pipeline.augmentation.volumes import VolumeAugmentation
from pipeline.config.augmentation import AugmentationConfig


def make_augmentation(config: AugmentationConfig, patch_size: tuple[int, ...]) -> Augmentation:
    """The augmentation of patches of two or three axes."""
    if len(patch_size) == PLANE:
        from pipeline.augmentation.images import ImageAugmentation  # takes a second, and volumes do without

        return ImageAugmentation(config, patch_size)
    return VolumeAugmentation(config, patch_size)
