"""How far a mean over cases can be trusted."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats


def bootstrap_ci95(values: NDArray[np.float64], *, samples: int, seed: int) -> tuple[float, float] | None:
    """The percentile bootstrap interval of a mean: where 95 % of the means of resampled cases lie.

    Cases are drawn with replacement, as many as there are, ``samples`` times (Efron 1979). The interval speaks of the
    choice of cases alone; another training of the same network would vary as well. Of a handful of cases it is too
    narrow, as all intervals of this kind are.

    Args:
        values: one value a case, (N,).
        samples: how many times the cases are drawn.
        seed: the same seed gives the same interval.

    Returns:
        Lower and upper end, or None where fewer than two cases say nothing about their spread.
    """
    if len(values) < 2:
        return None
    interval = stats.bootstrap(
        (values,), np.mean, n_resamples=samples, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    return float(interval.low), float(interval.high)
