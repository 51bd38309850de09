"""Predicted Dice of each label of a mask, from what the network's probabilities, the mask and the scan say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from pipeline.config.estimate import EstimateConfig
from pipeline.errors import DatasetError
from pipeline.quality.conformal import conformal_quantile, group_weights, patients_for
from pipeline.quality.estimate import DiceEstimate
from pipeline.quality.fitted import Fitted, below

LEAST_PATIENTS = 5
"""Whose masks an estimate is fitted to."""
FEATURES = {"confidence": 1, "doubt": -1, "stray": -1, "shape": 1, "volume": 0, "size": -1, "scan": -1, "agreement": 1}
"""What the Dice is predicted by, and whether it may only rise (1) or fall (-1) with it. A small structure has a lower
Dice for the same mistakes (volume), and one of an unusual size is suspect (size)."""
UNDAMAGED_SHARE = 0.5
"""How often the intervals take a new scan to be like those of validation, and not like a damaged version of them: most
scans are, but the others are those for which it matters."""
EDGE = 1e-3
"""Shares are cut off here before their logit is taken."""


@dataclass(frozen=True, eq=False)
class MaskEvidence:
    """What is known of a mask without a reference; arrays have a place for each of L labels.

    Attributes:
        voxels: where the label is the likeliest class.
        inside: the sum of the label's probability over these.
        total: the sum of it over all voxels.
        spread: the sum of p (1 - p) over all voxels.
        stray: share of the label's voxels outside its largest connected part.
        size: of the label, in mm3, or in px.
        shape: Dice of the label with what an autoencoder of training masks makes of it; 1 without one.
        scan: how odd the scan is; 0 where that is not known.
        agreement: mean Dice of the label between any two of the predictions of mirrored scans; None of a single one.
    """

    voxels: NDArray[np.float64]
    inside: NDArray[np.float64]
    total: NDArray[np.float64]
    spread: NDArray[np.float64]
    stray: NDArray[np.float64]
    size: NDArray[np.float64]
    shape: NDArray[np.float64]
    scan: float
    agreement: NDArray[np.float64] | None

    def alone(self) -> Self:
        """The same of a single prediction."""
        return replace(self, agreement=None)

    def rows(self, usual_size: NDArray[np.float64]) -> NDArray[np.float64]:
        """The `FEATURES` of each label (L, F), without the last one where there is no agreement.

        The first is the Dice that the probabilities promise: 2 E|P n R| / (|P| + E|R|), if each voxel of the reference
        were there with its probability.

        Args:
            usual_size: the median size of each label in training (L,).
        """
        voxels, volume = np.maximum(self.voxels, 1), np.log(np.maximum(self.size, EDGE) / usual_size)
        columns = [
            _logit(2 * self.inside / np.maximum(self.voxels + self.total, 1)),
            np.log((self.spread + 1) / voxels),
            self.stray,
            _logit(self.shape),
            volume,
            np.abs(volume),
            np.full(len(voxels), self.scan),
        ]
        return np.stack(columns if self.agreement is None else [*columns, _logit(self.agreement)], axis=1)


@dataclass(frozen=True)
class DicePrediction:
    """Of a label of a mask.

    Attributes:
        dice: the predicted one.
        low: of the interval that holds the Dice.
        high: of the interval.
        usual: what that of scans like those of validation lies above, or a floor that was asked for.
    """

    dice: float
    low: float
    high: float
    usual: float


@dataclass(frozen=True, eq=False)
class LabelEstimate(Fitted):
    """Predicted Dice of one label.

    Attributes:
        regression: by the features.
        usual: predicted Dice that masks of undamaged validation cases lie above, or a floor that was asked for.
        alarm_rate: share of such masks, at most, that are below the former.
    """

    regression: DiceEstimate
    usual: float
    alarm_rate: float

    @classmethod
    def fit(
        cls,
        features: NDArray,
        dice: NDArray,
        *,
        patients: NDArray,
        is_damaged: NDArray[np.bool_],
        alarm_rate: float,
        floor: float = 0.0,
    ) -> Self:
        """Fit to masks of the label whose Dice is known.

        Args:
            features: `FEATURES` of each mask (N, F).
            dice: (N,), between 0 and 1.
            patients: whose scan each is of (N,).
            is_damaged: whether that scan was damaged on purpose (N,).
            alarm_rate: share of undamaged masks that may be called unusual; where they are too few to vouch for it, the
                lowest of them is the bound, and the estimate has the rate that this is good for.
            floor: below which a mask is called unusual whatever the others are like.
        """
        signs = np.array(list(FEATURES.values()))[: features.shape[1]]
        part = 2 * np.unique(patients, return_inverse=True)[1] + is_damaged  # of the masks of a patient
        likely = np.where(is_damaged, 1 - UNDAMAGED_SHARE, UNDAMAGED_SHARE) / np.bincount(part)[part]
        regression = DiceEstimate.fit(features, dice, groups=patients, signs=signs, likely=likely)
        predicted, weights = regression.out_of_fold[~is_damaged], group_weights(patients[~is_damaged])
        bound = -float(conformal_quantile(-predicted, alarm_rate, weights))
        if not np.isfinite(bound):
            bound, alarm_rate = float(predicted.min()), 1 - float(weights.sum())
        return cls(regression, max(floor, bound), alarm_rate)


@dataclass(frozen=True, eq=False)
class MaskExample:
    """A mask whose Dice is known.

    Attributes:
        evidence: without a reference.
        dice: of each label (L,), NaN where the reference and the mask both lack it.
        patient: whose scan it is of.
        damage: the kind that was done to that scan on purpose; empty of one as it is.
    """

    evidence: MaskEvidence
    dice: NDArray[np.float64]
    patient: str
    damage: str


@dataclass(frozen=True, eq=False)
class MaskEstimates:
    """Predicted Dice of each label.

    Attributes:
        labels: by the place of the label; those that there were too few masks of are missing.
        usual_size: the median size of each label in training (L,).
        always: whether each label was in all training masks (L,): a mask without it has a Dice of 0.
        coverage: of the intervals.
    """

    labels: Mapping[int, LabelEstimate]
    usual_size: NDArray[np.float64]
    always: NDArray[np.bool_]
    coverage: float

    @classmethod
    def fit(cls, examples: Sequence[MaskExample], sizes: NDArray[np.float64], config: EstimateConfig) -> Self:
        """Fit to masks whose Dice is known.

        Args:
            examples: masks of cases that the network has not learnt from, and of damaged versions of them.
            sizes: of each label in each training mask (N, L), 0 where it is missing.
            config: coverage, and what a usual predicted Dice is.

        Raises:
            DatasetError: there are too few patients, or too few that have any of the labels.
        """
        check_patients([example.patient for example in examples])
        usual_size = np.array([np.median(column[column > 0]) if column.any() else 1.0 for column in sizes.T])
        fitted = {}
        for label in range(len(usual_size)):
            found = [each for each in examples if each.evidence.voxels[label] and np.isfinite(each.dice[label])]
            if len({each.patient for each in found if not each.damage}) >= LEAST_PATIENTS:
                fitted[label] = _fit_label(found, label, usual_size, config=config)
        if not fitted:
            raise _too_few(0, "that have a structure")
        return cls(fitted, usual_size, np.asarray((sizes > 0).all(axis=0)), config.coverage)

    def predict(self, evidence: MaskEvidence) -> list[DicePrediction | None]:
        """Of each label of a new mask; None where nothing can be said.

        That is of a label that may be missing and is, or one that there were too few masks of.
        """
        rows, found = evidence.rows(self.usual_size), list[DicePrediction | None]()
        for label, row in enumerate(rows):
            known = self.labels.get(label)
            if known is None or (not evidence.voxels[label] and not self.always[label]):
                found.append(None)
            elif not evidence.voxels[label]:
                found.append(DicePrediction(0.0, 0.0, 0.0, known.usual))
            else:
                dice = float(known.regression.predicted(row[None])[0])
                low, high = known.regression.interval(row[None], 1 - self.coverage)[0].tolist()
                found.append(DicePrediction(dice, low, high, known.usual))
        return found

    def to_arrays(self) -> dict[str, NDArray]:
        """All of it by name."""
        own = {"usual_size": self.usual_size, "always": self.always, "coverage": np.array(self.coverage)}
        return own | {
            f"labels.{label}.{name}": array
            for label, estimate in self.labels.items()
            for name, array in estimate.to_arrays().items()
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> Self:
        """What `to_arrays` gave.

        Raises:
            ModelError: an array is missing.
        """
        own, labels = _Own.from_arrays(arrays), below("labels", arrays)
        places = sorted({int(name.split(".")[0]) for name in labels})
        fitted = {label: LabelEstimate.from_arrays(below(str(label), labels)) for label in places}
        return cls(fitted, own.usual_size, own.always, own.coverage)


@dataclass(frozen=True, eq=False)
class _Own(Fitted):
    """The fields of `MaskEstimates` that are no table."""

    usual_size: NDArray[np.float64]
    always: NDArray[np.bool_]
    coverage: float


def check_patients(patients: Sequence[str]) -> None:
    """Whether there are enough of them.

    Raises:
        DatasetError: there are too few.
    """
    if len(set(patients)) < LEAST_PATIENTS:
        raise _too_few(len(set(patients)), "to fit predicted Dice to")


def _too_few(found: int, what: str) -> DatasetError:
    expected = f"validation cases of at least {LEAST_PATIENTS} patients {what}"
    remedy = f"Set data.split.validation higher; the interval takes {patients_for(0.1)} patients where it is of 90 %."
    return DatasetError(expected, str(found), remedy)


def _fit_label(
    examples: Sequence[MaskExample], label: int, usual_size: NDArray[np.float64], *, config: EstimateConfig
) -> LabelEstimate:
    return LabelEstimate.fit(
        np.stack([example.evidence.rows(usual_size)[label] for example in examples]),
        np.array([example.dice[label] for example in examples]),
        patients=np.array([example.patient for example in examples]),
        is_damaged=np.array([bool(example.damage) for example in examples]),
        alarm_rate=config.false_alarm_rate / len(usual_size),  # of any label of a mask
        floor=config.review_below or 0.0,
    )


def _logit(share: NDArray[np.float64]) -> NDArray[np.float64]:
    return logit(np.clip(share, EDGE, 1 - EDGE))
