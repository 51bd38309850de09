"""Cross-fitting: what is said of a training case by something that was fitted without it."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DatasetError

Scorer = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Rows (N, ...) to one or more numbers a row, (N, ...)."""


def group_folds(groups: NDArray, folds: int, *, seed: int = 0) -> NDArray[np.int64]:
    """The fold of each row (N,), so that the rows of a group stay together.

    A case and damaged versions of it, or the scans of one patient, are a group: a row whose twin was trained on would
    look better than a new one. Groups are dealt to the folds in random order; as many folds as groups leave one group
    out at a time.

    Args:
        groups: the group of each row, (N,), of any kind that can be sorted.
        folds: how many there are at most.
        seed: of the order.

    Raises:
        DatasetError: there is one group alone.

    Example:
        >>> group_folds(np.array([7, 7, 8, 8]), 5).tolist() in ([0, 0, 1, 1], [1, 1, 0, 0])
        True
    """
    names, members = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise DatasetError(
            "cases of at least two groups, one to fit to and one to score", f"{len(names)}", "Give more cases."
        )
    order = np.random.default_rng(seed).permutation(len(names))
    return (order % min(folds, len(names)))[members]


def cross_fitted(
    fit: Callable[[NDArray[np.bool_]], Scorer], rows: NDArray, fold_of: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Numbers of each row from what was fitted to the other folds.

    Args:
        fit: fits to the rows that a mask (N,) selects, and returns what scores rows.
        rows: (N, ...).
        fold_of: the fold of each row, (N,).

    Returns:
        (N, ...): what the scorers return, in the order of the rows.
    """
    folds = np.unique(fold_of)
    parts = [fit(fold_of != fold)(rows[fold_of == fold]) for fold in folds]
    back = np.argsort(np.concatenate([np.flatnonzero(fold_of == fold) for fold in folds]))
    return np.concatenate(parts)[back]
