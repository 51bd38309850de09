import subprocess
import sys

import numpy as np
import pytest

from pipeline.augmentation.choice import make_augmentation
from pipeline.augmentation.images import ImageAugmentation
from pipeline.augmentation.source import source_size
from pipeline.augmentation.volumes import VolumeAugmentation
from pipeline.config.augmentation import AugmentationConfig


@pytest.mark.parametrize(("patch", "kind"), [((8, 12), ImageAugmentation), ((8, 12, 4), VolumeAugmentation)])
def test_the_number_of_axes_chooses_between_images_and_volumes(patch: tuple[int, ...], kind: type) -> None:
    config = AugmentationConfig()
    augment = make_augmentation(config, patch)
    assert type(augment) is kind
    ones = np.ones((1, *source_size(patch, config)), np.float32)
    sample = augment(ones, ones.astype(np.uint8), np.random.default_rng(0), weights=ones)
    assert {name: tuple(part.shape) for name, part in sample.items()} == dict.fromkeys(
        ("image", "labels", "weights"), (1, *patch)
    )


def test_volumes_are_trained_on_without_albumentations() -> None:
    script = """
import sys
from pipeline.augmentation.choice import make_augmentation
from pipeline.config.augmentation import AugmentationConfig
import pipeline.samples.patches
make_augmentation(AugmentationConfig(), (8, 8, 8))
assert "albumentations" not in sys.modules
make_augmentation(AugmentationConfig(), (8, 8))
assert "albumentations" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
