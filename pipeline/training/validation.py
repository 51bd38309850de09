"""Validation during training: the sliding window over whole scans, and Dice on each scan's own grid.

It is prediction without what the inference settings may add to it: test-time mirroring, which would take up to eight
times as long, and `keep_largest`. The overlap is that of the inference settings, the number format that of training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.inference.backends.backend import TorchBackend
from pipeline.inference.precision import Compute
from pipeline.inference.predictor import network_function
from pipeline.inference.sliding_window import slide, sliding_window
from pipeline.inference.windows import nesting
from pipeline.metrics.overlap import Overlap
from pipeline.preprocessing.labels import IGNORED
from pipeline.preprocessing.prepare import restore_blocks
from pipeline.samples.cache import StoredCase
from pipeline.sizes import as_window


@dataclass(frozen=True)
class ValidationCase:
    """A prepared case and its mask as it is on disk, as class numbers or `IGNORED` on the scan's own grid (I, J, K)."""

    stored: StoredCase
    truth: NDArray[np.uint8]


@dataclass(frozen=True)
class Validation:
    """What is validated on, and how the window slides over it.

    Attributes:
        cases: possibly none.
        classes: the background included.
        patch_size: of the network's input, one number an axis.
        overlap: share of a patch that it has in common with its neighbour.
    """

    cases: list[ValidationCase]
    classes: int
    patch_size: tuple[int, ...]
    overlap: float


CaseDice = list[float | None]
"""Dice of each class above 0 in one case; None where truth and prediction both lack the class."""


def validate(network: nn.Module, validation: Validation, compute: Compute) -> list[CaseDice]:
    """Dice of each case, in the order of the cases."""
    rows = []
    for case in validation.cases:
        mask = predict_classes(network, case.stored, validation, compute=compute)
        counted = case.truth != IGNORED
        overlaps = (
            Overlap.of((mask == value) & counted, case.truth == value) for value in range(1, validation.classes)
        )
        rows.append([overlap.dice for overlap in overlaps])
    return rows


def predict_classes(
    network: nn.Module, case: StoredCase, validation: Validation, *, compute: Compute
) -> NDArray[np.uint8]:
    """Class numbers of a prepared case (I, J, K), on the scan's own grid; few of its scores are held."""
    window = as_window(validation.patch_size)
    with torch.inference_mode():
        run = network_function(TorchBackend(network, compute), len(validation.patch_size))
        blocks = slide(run, torch.from_numpy(case.image()), window, overlap=validation.overlap)
        scores = ((block.box, block.scores.numpy()) for block in blocks)
        return restore_blocks(scores, case.trail, order=nesting(case.trail.shape, window))


def predict_scores(
    network: nn.Module, case: StoredCase, validation: Validation, *, compute: Compute
) -> NDArray[np.floating[Any]]:
    """Probabilities of a prepared case (classes, I, J, K), on the grid that it was prepared to."""
    with torch.inference_mode():
        image = torch.from_numpy(case.image())
        run = network_function(TorchBackend(network, compute), len(validation.patch_size))
        return sliding_window(run, image, as_window(validation.patch_size), overlap=validation.overlap).numpy()


def mean_by_class(rows: Sequence[CaseDice]) -> CaseDice:
    """Mean over cases of each class above 0; a case does not count for a class that it has no Dice of."""
    return [mean_dice(column) for column in zip(*rows, strict=True)]


def mean_dice(values: Sequence[float | None]) -> float | None:
    """Mean of those that are defined; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
