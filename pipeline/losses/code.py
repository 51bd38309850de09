"""What is asked of a code itself: that it is sparse, or that it follows a distribution."""

import torch
from torch import Tensor

LEAST = 1e-4
"""Of rates, so that their logarithm stays finite."""


def divergences(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Divergence of each unit's distribution from the standard normal one, in nats; all three are (B, units ...).

    (mean^2 + variance - 1 - log variance) / 2: Kingma and Welling 2014 (arXiv:1312.6114), appendix B.
    """
    return (mean**2 + log_variance.exp() - 1 - log_variance) / 2


def variational_loss(mean: Tensor, log_variance: Tensor, numbers: float) -> Tensor:
    """Divergence of the codes of a batch, the mean over its images, divided by the numbers in an image.

    Reconstruction losses are means over the numbers too, so that with a weight of 1 the sum is the evidence lower
    bound, divided by their count, of Gaussian intensities with a variance of one half.
    """
    return divergences(mean, log_variance).flatten(1).sum(1).mean() / numbers


def sparsity_loss(units: Tensor, target_rate: float) -> Tensor:
    """Divergence of each unit's rate of activity from the target, the mean over units (Ng 2011, CS294A, section 3).

    A unit that gives out x >= 0 counts as active to the part 1 - exp(-x); its rate is the mean over the batch and, for
    feature maps, over all places.

    Args:
        units: (B, units) or (B, channels, ...), not negative.
        target_rate: from 0 to 1.
    """
    activity = 1 - (-units.float()).exp()
    rate = activity.transpose(0, 1).flatten(1).mean(1).clamp(LEAST, 1 - LEAST)
    wanted = torch.tensor(target_rate, device=rate.device)
    off = (1 - wanted) * ((1 - wanted) / (1 - rate)).log()
    return (wanted * (wanted / rate).log() + off).mean()
