"""How sure a network is of voxels that it has not learnt from, and how often it is right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.inference.predictor import Predictor
from pipeline.preprocessing.labels import IGNORED
from pipeline.preprocessing.prepare import Prepared
from pipeline.quality.temperature import Reliability, fit_temperature, soften
from pipeline.training.validation import ValidationCase

MARGIN = 5
"""Voxels around the structures that count as well: far from them any network is sure, and right."""
VOXELS_OF_A_CASE = 20_000


@dataclass(frozen=True, eq=False)
class Calibration:
    """A temperature, and what it is good for.

    Attributes:
        temperature: fitted to all cases.
        before: as the network is.
        after: each case at the temperature that the others give.
    """

    temperature: float
    before: Reliability
    after: Reliability


def calibrate(predictor: Predictor, cases: Sequence[ValidationCase], *, seed: int) -> Calibration:
    """Fit a temperature to validation cases.

    Args:
        predictor: of the model, which makes the probabilities as prediction will.
        cases: with structures; those without one do not count.
        seed: of the voxels that are drawn.

    Raises:
        DatasetError: no case has a structure.
        ScanError: a case needs more memory than is free.
    """
    rng = np.random.default_rng(seed)
    drawn = [each for case in cases if (each := _voxels(predictor, case, rng)) is not None]
    empty = np.zeros((1 + len(predictor.manifest.labels), 0)), np.zeros(0, np.int64)
    probabilities = np.concatenate([empty[0], *(each for each, _ in drawn)], axis=1)
    classes = np.concatenate([empty[1], *(each for _, each in drawn)])
    temperature = fit_temperature(probabilities, classes)
    case_of = np.repeat(np.arange(len(drawn)), [len(each) for _, each in drawn])
    apart = probabilities.copy()
    for case in range(len(drawn) if len(drawn) > 1 else 0):
        own = case_of == case
        part = probabilities[:, own]
        soften(part, fit_temperature(probabilities[:, ~own], classes[~own]))
        apart[:, own] = part
    return Calibration(temperature, Reliability.of(probabilities, classes), Reliability.of(apart, classes))


def _voxels(
    predictor: Predictor, case: ValidationCase, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
    """Probabilities (C, N) and classes (N,) of some voxels in and around the structures; None where there are none."""
    labels = np.array(case.stored.labels())
    places = np.nonzero((labels > 0) & (labels != IGNORED))
    if not len(places[0]):
        return None
    box = tuple(slice(max(0, int(axis.min()) - MARGIN), int(axis.max()) + MARGIN + 1) for axis in places)
    found = predictor.probabilities(Prepared(case.stored.image(), case.stored.trail))[(slice(None), *box)]
    known = np.flatnonzero(labels[box] != IGNORED)
    chosen = np.sort(rng.permutation(known)[:VOXELS_OF_A_CASE])
    return found.reshape(len(found), -1)[:, chosen].astype(np.float64), labels[box].reshape(-1)[chosen].astype(np.int64)
