"""How well scores find what is to be found: foreign scans (positive), and masks that are bad.

Scores are higher where a scan is odder. ``own`` are those of scans like the training scans, (N,), ``foreign`` those of
scans that the gate is to find, (M,); neither is empty.
"""

import math

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]


def auroc(own: Scores, foreign: Scores) -> float:
    """Area under the ROC curve: how likely a foreign scan scores above one's own, ties counting half."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*_labelled(own, foreign)))


def auprc(own: Scores, foreign: Scores) -> float:
    """Area under the curve of precision over recall, as average precision; foreign scans are what is recalled.

    It depends on how many of the scans are foreign: chance gives that share.
    """
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*_labelled(own, foreign)))


def false_alarm_rate(own: Scores, foreign: Scores, detection: float = 0.95) -> float:
    """Share of one's own scans that are at the threshold or above, which a share of the foreign ones is at least.

    "FPR at 95 % TPR", the threshold being the highest at which so many foreign scans are found.
    """
    found = math.ceil(detection * len(foreign) - 1e-9)
    return float(np.mean(own >= np.sort(foreign)[-found]))


def risk_coverage(uncertainty: Scores, loss: Scores) -> tuple[Scores, Scores]:
    """Coverage and risk, both (N,): the mean loss of the masks that are kept when the least certain are put aside.

    Masks of equal uncertainty have the mean of their losses each, which is what their order, being arbitrary, comes to.

    Args:
        uncertainty: (N,), such as 1 - predicted Dice.
        loss: (N,), such as 1 - Dice.

    Returns:
        Coverage 1/N, 2/N, ..., 1, and the risk at each (Geifman and El-Yaniv 2017, "Selective classification").
    """
    _, level, sizes = np.unique(uncertainty, return_inverse=True, return_counts=True)
    means = np.bincount(level, weights=loss) / sizes
    kept = np.arange(1, len(loss) + 1)
    return kept / len(loss), np.cumsum(np.repeat(means, sizes)) / kept


def aurc(uncertainty: Scores, loss: Scores) -> float:
    """Area under the curve of risk over coverage: its mean (Geifman et al. 2019, arXiv:1805.08206). Less is better.

    It is the mean loss where the uncertainty says nothing, and ``aurc(loss, loss)`` where it says all.
    """
    return float(risk_coverage(uncertainty, loss)[1].mean())


def _labelled(own: Scores, foreign: Scores) -> tuple[NDArray[np.int64], Scores]:
    return np.repeat([0, 1], [len(own), len(foreign)]), np.concatenate([own, foreign])
