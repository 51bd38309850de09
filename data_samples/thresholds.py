"""How far thresholds get on the sample data, chosen with the truth known: what a network has to beat.

Arrays are I J K.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Overlap of two masks, 1 where they agree."""
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


def largest_component(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest of the pieces that touch by their faces."""
    numbered, count = ndimage.label(region)
    return numbered == 1 + np.bincount(numbered.ravel())[1:].argmax() if count else region


def best_threshold_dice(image: NDArray, truth: NDArray[np.bool_]) -> float:
    """Dice of the best of 33 thresholds, above or below, largest component kept: chosen with the truth known."""
    thresholds = np.quantile(image, np.linspace(0.01, 0.99, 33))
    regions = (region for value in thresholds for region in (image > value, image < value))
    return max(dice(largest_component(region), truth) for region in regions)


def best_threshold_of_all_parts(image: NDArray, truth: NDArray[np.bool_]) -> float:
    """As `best_threshold_dice`, for structures of many parts: all are kept."""
    thresholds = np.quantile(image, np.linspace(0.01, 0.99, 99))
    regions = (region for value in thresholds for region in (image > value, image < value))
    return max(dice(region, truth) for region in regions)


def best_two_threshold_dice(image: NDArray, mask: NDArray) -> float:
    """Mean Dice of both labels, anterior above one threshold and posterior below another, chosen likewise."""
    low, high = (np.quantile(image, np.linspace(*ends, 8)) for ends in ((0.02, 0.45), (0.55, 0.98)))
    scores = []
    for below, above in product(low, high):
        kept = largest_component((image < below) | (image > above))
        scores.append((dice(kept & (image > above), mask == 1) + dice(kept & (image < below), mask == 2)) / 2)
    return max(scores)
