"""Patches to reconstruct: what the network sees, and what it should make of it."""

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.augmentation.corruption import corrupt
from pipeline.augmentation.sample import Sample
from pipeline.config.autoencoder import CorruptionConfig
from pipeline.samples.patches import PatchDataset, SampleKey
from pipeline.threads import one_thread

STREAM = 1
"""Of the random numbers of a sample: the patch itself is drawn without it."""


class CorruptedPatches(Dataset[Sample]):
    """Augmented patches of which the network sees a corrupted copy; as `PatchDataset`.

    A sample has "image" and "target" (C, ...) float32, and "counted" (1, ...) bool: the voxels that are to be
    reconstructed, of those that lie in the scan.

    Args:
        patches: the patches as they should be.
        config: what is done to the copies; axes are those of the patches.
    """

    def __init__(self, patches: PatchDataset, config: CorruptionConfig) -> None:
        self.patches, self.config = patches, config

    def __getitem__(self, key: SampleKey) -> Sample:
        sample = self.patches[key]
        rng = np.random.default_rng([self.patches.seed, key.epoch, key.sample, STREAM])
        with one_thread():
            return corrupted(sample["image"], sample["labels"] > 0, self.config, rng=rng)


def corrupted(scan: Tensor, inside: Tensor, config: CorruptionConfig, *, rng: np.random.Generator) -> Sample:
    """A sample from a patch of a scan (C, ...) and the voxels of it that lie in the scan (1, ...)."""
    image, masked = corrupt(scan, config, rng)
    counted = inside & masked if config.only_masked else inside
    return {"image": image.masked_fill(~inside, 0.0), "target": scan, "counted": counted}
