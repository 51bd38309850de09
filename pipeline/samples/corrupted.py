"""Patches to reconstruct: what the network sees, and what it should make of it."""

import numpy as np
from torch.utils.data import Dataset

from pipeline.augmentation.corruption import corrupt
from pipeline.augmentation.sample import Sample
from pipeline.augmentation.threads import one_thread
from pipeline.config.autoencoder import CorruptionConfig
from pipeline.samples.patches import PatchDataset, SampleKey

STREAM = 1
"""Of the random numbers of a sample: the patch itself is drawn without it."""


class CorruptedPatches(Dataset[Sample]):
    """Augmented patches of which the network sees a corrupted copy; as `PatchDataset`.

    A sample has "image" and "target" (C, ...) float32, and "masked" (1, ...) bool.

    Args:
        patches: the patches as they should be.
        config: what is done to the copies; axes are those of the patches.
    """

    def __init__(self, patches: PatchDataset, config: CorruptionConfig) -> None:
        self.patches, self.config = patches, config

    def __getitem__(self, key: SampleKey) -> Sample:
        target = self.patches[key]["image"]
        rng = np.random.default_rng([self.patches.seed, key.epoch, key.sample, STREAM])
        with one_thread():
            image, masked = corrupt(target, self.config, rng)
        return {"image": image, "target": target, "masked": masked}
