"""Validation during training: the sliding window over whole scans, and Dice on each scan's own grid.

It is prediction without what the inference settings may add to it: test-time mirroring, which would take up to eight
times as long, and `keep_largest`. The overlap is that of the inference settings, the number format that of training.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.inference.precision import Compute
from pipeline.inference.predictor import network_function
from pipeline.inference.sliding_window import sliding_window
from pipeline.metrics.overlap import Overlap
from pipeline.networks.unet import UNet
from pipeline.preprocessing.prepare import restore
from pipeline.samples.cache import StoredCase


@dataclass(frozen=True)
class ValidationCase:
    """A prepared case and its mask as it is on disk, as class numbers on the scan's own grid (I, J, K)."""

    stored: StoredCase
    truth: NDArray[np.uint8]


@dataclass(frozen=True)
class Validation:
    """What is validated on, and how the window slides over it.

    Attributes:
        cases: possibly none.
        classes: the background included.
        patch_size: of the window, in voxels.
        overlap: share of a patch that it has in common with its neighbour.
    """

    cases: list[ValidationCase]
    classes: int
    patch_size: tuple[int, ...]
    overlap: float


def validate(network: UNet, validation: Validation, compute: Compute) -> list[float | None]:
    """Mean Dice of each class above 0.

    A case where truth and prediction both lack a class does not count for it; None where no case counts.
    """
    run = network_function(network, compute)
    rows = []
    with torch.inference_mode():
        for case in validation.cases:
            image = torch.from_numpy(case.stored.image())
            scores = sliding_window(run, image, validation.patch_size, overlap=validation.overlap)
            mask = restore(scores.numpy(), case.stored.trail)
            rows.append([Overlap.of(mask == value, case.truth == value).dice for value in range(1, validation.classes)])
    return [mean_dice([row[index] for row in rows]) for index in range(validation.classes - 1)]


def mean_dice(values: Sequence[float | None]) -> float | None:
    """Mean of those that are defined; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
