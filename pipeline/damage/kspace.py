"""What goes wrong while the lines of k-space are recorded: motion and spikes.

Channels are I J K. Both are what is left of the magnitude: no value falls below that of no signal.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from pipeline.damage.values import Floats, any_axis, channels, long_axes, lowest_signal, spread, with_values
from pipeline.scan import Scan

SHIFT_SHARE = 0.15
"""The furthest motion, as a share of the field of view along the phase encoding."""
DEGREES = 15.0
"""The largest rotation that goes with it."""
EVERY = (2, 4)
"""The smallest and the largest distance between the lines that are recorded after the motion."""
SPIKE_SHARE = 0.5
"""The largest amplitude of the waves of all spikes together, as a share of the spread of the intensities."""
SPIKES = (1, 3)
"""The least and the most spikes."""
FREQUENCIES = (0.1, 0.4)
"""The lowest and the highest frequency of a wave along an axis, in cycles a voxel."""


def ghosts(scan: Scan, strength: float, rng: np.random.Generator) -> Scan:
    """Ghosts of a patient who moved and came back while every second to fourth line was recorded.

    (The idea is that of RandomMotion and RandomGhosting in TorchIO, Pérez-García et al. 2021,
    doi:10.1016/j.cmpb.2021.106236.) Near 0, the patient lay still. At 1, the motion is 0.15 of the field of view along
    the phase encoding, and 15 degrees.
    """
    phase, every = any_axis(scan.shape, rng), int(rng.integers(EVERY[0], EVERY[1] + 1))
    others = [axis for axis in long_axes(scan.shape) if axis != phase]
    plane = (phase, others[int(rng.integers(len(others)))]) if others else (phase, phase)
    shift, degrees = strength * SHIFT_SHARE * scan.shape[phase], strength * DEGREES
    to_before = rotation(scan.spacing_mm, plane=plane, degrees=degrees)
    return with_values(
        scan,
        (
            interleaved(channel, moved(channel, to_before, axis=phase, voxels=shift), axis=phase, every=every)
            for channel in channels(scan)
        ),
    )


def spikes(scan: Scan, strength: float, rng: np.random.Generator) -> Scan:
    """Stripes across the whole scan (herringbone), as wrong points of k-space leave them (TorchIO's RandomSpike).

    Near 0, there are none. At 1, the waves of one to three spikes rise to half the spread of a channel's intensities.
    """
    count = int(rng.integers(SPIKES[0], SPIKES[1] + 1))
    waves = np.mean([wave(scan.shape, _cycles(scan.shape, rng), rng.uniform(0, 2 * np.pi)) for _ in range(count)], 0)
    return with_values(
        scan, (_magnitude(channel, strength * SPIKE_SHARE * spread(channel) * waves) for channel in channels(scan))
    )


def rotation(spacing_mm: tuple[float, ...], *, plane: tuple[int, int], degrees: float) -> Floats:
    """The 3x3 matrix that maps voxels after a rotation to those before it, both counted from the centre.

    The rotation is one of lengths in mm: voxels are stretched to mm, turned, and shrunk to voxels again. A plane of one
    axis twice is none, and nothing is turned.
    """
    first, second = plane
    if first == second:
        return np.eye(3)
    turn, angle = np.eye(3), np.radians(degrees)
    turn[first, first] = turn[second, second] = np.cos(angle)
    turn[first, second], turn[second, first] = np.sin(angle), -np.sin(angle)
    return turn * np.array(spacing_mm)[None, :] / np.array(spacing_mm)[:, None]


def moved(channel: Floats, to_before: Floats, *, axis: int, voxels: float) -> Floats:
    """A channel (I, J, K) turned around its centre, and then shifted by ``voxels`` along an axis.

    What comes in at an edge has the values of the edge.

    Args:
        channel: before the motion.
        to_before: as `rotation` gives it.
        axis: of the shift.
        voxels: the shift, towards higher indices.
    """
    centre = (np.array(channel.shape) - 1) / 2
    after = centre + voxels * np.eye(3)[axis]  # where the centre comes to lie
    return ndimage.affine_transform(channel, to_before, centre - to_before @ after, order=1, mode="nearest")


def interleaved(before: Floats, after: Floats, *, axis: int, every: int) -> Floats:
    """A channel of which every n-th line of k-space along an axis was recorded after a motion, the others before it.

    To keep every n-th frequency of N is to take the mean of n copies, N / n voxels apart. So with
    ``d = after - before``, what is recorded is ``before(x) + 1 / n sum_j d(x + j N / n)``: what was there fades to
    1 - 1 / n, and is repeated at distances of N / n, as is what was there after the motion.

    Args:
        before: (I, J, K).
        after: the same after the motion.
        axis: the phase encoding.
        every: n.
    """
    size = before.shape[axis]
    frequencies = np.rint(np.fft.fftfreq(size, 1 / size)).astype(int)
    kept = np.moveaxis((frequencies % every == 0).reshape(-1, 1, 1), 0, axis)
    change = np.fft.ifft(np.fft.fft(after - before, axis=axis) * kept, axis=axis).real
    return _magnitude(before, change)


def wave(shape: tuple[int, ...], cycles: Sequence[int], phase: float) -> Floats:
    """What two points of k-space that mirror each other add to a volume (I, J, K): a cosine between -1 and 1.

    Args:
        shape: of the volume.
        cycles: along each axis, from one end to the other.
        phase: in radians.
    """
    places = np.meshgrid(*(np.arange(size) / size for size in shape), indexing="ij", sparse=True)
    turns = sum(count * place for count, place in zip(cycles, places, strict=True))
    return np.cos(2 * np.pi * turns + phase)


def _cycles(shape: tuple[int, ...], rng: np.random.Generator) -> list[int]:
    """Along axes of several voxels at least one cycle, in either direction."""
    frequencies, signs = rng.uniform(*FREQUENCIES, len(shape)), rng.choice((-1, 1), len(shape))
    return [
        int(sign) * max(1, round(frequency * size)) if size > 1 else 0
        for size, frequency, sign in zip(shape, frequencies, signs, strict=True)
    ]


def _magnitude(channel: Floats, change: Floats) -> Floats:
    """A channel and what was added to it, where both are the real part of a signal of which the magnitude is kept."""
    floor = lowest_signal(channel)
    return floor + np.abs(channel - floor + change)
