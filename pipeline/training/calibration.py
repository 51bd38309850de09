"""How sure a network is of voxels that it has not learnt from, and how often it is right."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ScanError
from pipeline.inference.predictor import Predictor
from pipeline.preprocessing.labels import IGNORED
from pipeline.preprocessing.prepare import Prepared
from pipeline.quality.folds import group_folds
from pipeline.quality.temperature import Reliability, fit_temperature, soften
from pipeline.training.gate import draw_cases
from pipeline.training.validation import ValidationCase

MARGIN = 5
"""Voxels around the structures that count as well: far from them any network is sure, and right."""
CASES, FOLDS = 40, 5
NUMBERS = 20_000_000
"""Probabilities that are looked at, of all cases and classes together."""
VOXELS_OF_A_CASE = 20_000


@dataclass(frozen=True, eq=False)
class Calibration:
    """A temperature, and what it is good for.

    Attributes:
        temperature: fitted to all cases.
        before: as the network is.
        after: each case at the temperature that others give; None of a single patient.
    """

    temperature: float
    before: Reliability
    after: Reliability | None

    @property
    def is_worth_it(self) -> bool:
        """Whether cases are no worse calibrated at the temperature of others; true where there are no others."""
        return self.after is None or self.after.error <= self.before.error


def calibrate(predictor: Predictor, cases: Sequence[tuple[ValidationCase, str]], *, seed: int) -> Calibration:
    """Fit a temperature to validation cases.

    Args:
        predictor: of the model, which makes the probabilities as prediction will.
        cases: and the patient of each, of which `CASES` are drawn; those without a structure do not count, nor those
            that need more memory than is free.
        seed: of what is drawn.

    Raises:
        DatasetError: no case has a structure.
        ModelError: the network's output is not finite.
    """
    rng, classes_count = np.random.default_rng(seed), 1 + len(predictor.manifest.labels)
    most = min(VOXELS_OF_A_CASE, NUMBERS // (CASES * classes_count))
    parts, known, patients = [np.zeros((classes_count, 0), np.float32)], [np.zeros(0, np.int64)], list[str]()
    for place in draw_cases(np.array([patient for _, patient in cases]), CASES, seed=seed).tolist():
        case, patient = cases[place]
        with suppress(ScanError):
            if (found := _voxels(predictor, case, most, rng=rng)) is not None:
                parts.append(found[0])
                known.append(found[1])
                patients += [patient] * len(found[1])
    probabilities, classes = np.concatenate(parts, axis=1), np.concatenate(known)
    temperature = fit_temperature(probabilities, classes)
    after = None
    if len(set(patients)) > 1:
        softer, fold_of = probabilities.copy(), group_folds(np.array(patients), FOLDS)
        for fold in range(int(fold_of.max()) + 1):
            own = fold_of == fold
            part = probabilities[:, own]
            soften(part, fit_temperature(probabilities[:, ~own], classes[~own]))
            softer[:, own] = part
        after = Reliability.of(softer, classes)
    return Calibration(temperature, Reliability.of(probabilities, classes), after)


def _voxels(
    predictor: Predictor, case: ValidationCase, most: int, *, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
    """Probabilities (C, N) and classes (N,) of some voxels in and around the structures; None where there are none."""
    labels = np.array(case.stored.labels())
    places = np.nonzero((labels > 0) & (labels != IGNORED))
    if not len(places[0]):
        return None
    box = tuple(slice(max(0, int(axis.min()) - MARGIN), int(axis.max()) + MARGIN + 1) for axis in places)
    found = predictor.probabilities(Prepared(case.stored.image(), case.stored.trail))[(slice(None), *box)]
    known = np.flatnonzero(labels[box] != IGNORED)
    chosen = np.sort(rng.permutation(known)[:most])
    return found.reshape(len(found), -1)[:, chosen].astype(np.float32), labels[box].reshape(-1)[chosen].astype(np.int64)
