"""Validation as prediction is done: sliding window over whole scans, Dice on the scan's own grid."""

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
class SlidingWindow:
    """What validation needs to know of the sliding window."""

    patch_size: tuple[int, ...]
    overlap: float


def validate(
    network: UNet, cases: list[ValidationCase], window: SlidingWindow, classes: int, compute: Compute
) -> list[float | None]:
    """Mean Dice of each class above 0.

    A case where truth and prediction both lack a class does not count for it; None where no case counts.
    """
    run = network_function(network, compute)
    rows = []
    with torch.inference_mode():
        for case in cases:
            image = torch.from_numpy(case.stored.image())
            scores = sliding_window(run, image, window.patch_size, window.overlap)
            mask = restore(scores.numpy(), case.stored.trail)
            rows.append([Overlap.of(mask == value, case.truth == value).dice for value in range(1, classes)])
    return [_mean([row[index] for row in rows]) for index in range(classes - 1)]


def mean_dice(per_class: list[float | None]) -> float | None:
    """Mean over the classes that have a Dice."""
    return _mean(per_class)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
