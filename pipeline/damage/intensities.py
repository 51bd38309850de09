"""Wrong intensities: contrast, noise, and uneven brightness.

Channels are I J K.
"""

from collections.abc import Callable
from itertools import product

import numpy as np

from pipeline.damage.values import Floats, channels, low_and_high, lowest_signal, spread, with_values
from pipeline.scan import Scan

GAMMA = 4.0
"""The largest exponent; the smallest is 1 / 4. What is common in scans lies between 0.7 and 1.5."""
NOISE_SHARE = 0.3
"""The largest standard deviation of noise, as a share of the spread of the intensities."""
BIAS_RATIO = 16.0
"""The strongest bias field is so many times as large where it is largest as where it is smallest."""
BIAS_ORDER = 3


def contrast(scan: Scan, strength: float, rng: np.random.Generator) -> Scan:
    """The contrast of another sequence or window: too dark, too bright, or inverted, whichever the generator draws.

    Near 0, the exponent is 1, and no intensity is inverted. At 1, the exponent is 4 or 1 / 4, or all intensities are
    inverted.
    """
    curve = (darkened, brightened, folded)[int(rng.integers(3))]
    return with_values(scan, (_recoloured(channel, lambda unit: curve(unit, strength)) for channel in channels(scan)))


def noise(scan: Scan, strength: float, rng: np.random.Generator) -> Scan:
    """Rician noise (Gudbjartsson & Patz 1995, doi:10.1002/mrm.1910340618).

    Near 0, there is none. At 1, its standard deviation is 0.3 of the spread of a channel's intensities, so that a
    tissue in the middle of them is less than twice as strong as the noise.
    """
    return with_values(
        scan, (rician(channel, strength * NOISE_SHARE * spread(channel), rng) for channel in channels(scan))
    )


def bias(scan: Scan, strength: float, rng: np.random.Generator) -> Scan:
    """A smooth field that multiplies the signal, as uneven coils leave it (as RandBiasField in MONAI and TorchIO).

    Near 0, the field is 1. At 1, it is 16 times as strong in one place as in another.
    """
    field = bias_field(scan.shape, rng) ** strength
    floors = ((channel, lowest_signal(channel)) for channel in channels(scan))
    return with_values(scan, (floor + (channel - floor) * field for channel, floor in floors))


def darkened(unit: Floats, strength: float) -> Floats:
    """Intensities in [0, 1] with a gamma above 1."""
    return unit**GAMMA**strength


def brightened(unit: Floats, strength: float) -> Floats:
    """Intensities in [0, 1] with a gamma below 1."""
    return unit**GAMMA**-strength


def folded(unit: Floats, share: float) -> Floats:
    """Intensities in [0, 1] of which the upper ``share`` is mirrored at its lower end, so that the brightest is dark.

    With a share of 1 they are inverted, ``1 - unit``. Above a half, the mirrored ones would end below 0, at
    ``1 - 2 share``: all are raised by as much.

    Example:
        >>> folded(np.array([0.0, 0.5, 0.75, 1.0]), 0.25).tolist()
        [0.0, 0.5, 0.75, 0.5]
    """
    fold = 1 - share
    return fold - np.abs(unit - fold) + max(0.0, 2 * share - 1)


def rician(channel: Floats, sigma: float, rng: np.random.Generator) -> Floats:
    """The magnitude of a signal (I, J, K) after normal noise was added to its real and its imaginary part.

    Where there is no signal, its mean is ``sigma sqrt(pi / 2)``.
    """
    floor = lowest_signal(channel)
    real, imaginary = rng.normal(0, sigma, (2, *channel.shape))
    return floor + np.hypot(channel - floor + real, imaginary)


def bias_field(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """The strongest field (I, J, K): the exponential of a random polynomial of the third order in the three positions.

    (Van Leemput et al. 1999, doi:10.1109/42.811268.) The polynomial has no constant term, which would only rescale
    the scan. From its lowest to its highest value it is the logarithm of `BIAS_RATIO`.
    """
    positions = np.meshgrid(*(_from_minus_1_to_1(size) for size in shape), indexing="ij", sparse=True)
    exponents = [powers for powers in product(range(BIAS_ORDER + 1), repeat=3) if 0 < sum(powers) <= BIAS_ORDER]
    logarithm = np.zeros(shape)
    for powers, coefficient in zip(exponents, rng.uniform(-1, 1, len(exponents)), strict=True):
        i, j, k = (position**power for position, power in zip(positions, powers, strict=True))
        logarithm += coefficient * i * j * k
    extent = np.ptp(logarithm)
    return BIAS_RATIO ** (logarithm / extent) if extent > 0 else np.ones(shape)


def _recoloured(channel: Floats, curve: Callable[[Floats], Floats]) -> Floats:
    """The channel with a curve from [0, 1] to [0, 1] laid over its spread; beyond it, values move as its ends do."""
    low, high = low_and_high(channel)
    if low == high:
        return channel
    unit = (np.clip(channel, low, high) - low) / (high - low)
    return channel + (curve(unit) - unit) * (high - low)


def _from_minus_1_to_1(size: int) -> Floats:
    return np.linspace(-1, 1, size) if size > 1 else np.zeros(1)
