"""Which slices make up a volume.

The slices of a series are sorted along their normal, and their distances come from their positions: SliceThickness is
how thick a slice is, and SpacingBetweenSlices is not always written. What one series holds of several volumes (another
orientation, echo, time or size) is taken apart; what does not fit together evenly is refused.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ScanError
from pipeline.formats.dicom.frames import DISTINGUISHING, Frame
from pipeline.formats.itk import affine_of
from pipeline.scan import ScanHeader
from pipeline.wording import count_of, enumerate_names

EVEN_MM = 0.01
"""Positions are written with few digits: distances that differ by less are the same."""
EVEN_SHARE = 0.01
"""The same as a share of the distance."""
CONTRASTS = (
    *("EchoTime", "EffectiveEchoTime", "InversionTime", "DiffusionBValue"),
    *("TemporalPositionIdentifier", "TemporalPositionIndex"),
)
"""Those of `DISTINGUISHING` that are one for all slices of a volume."""
SAME_COSINE, SAME_SPACING = 1e-3, 1e-3
"""Differences of directions, and of spacings as a share, between slices of one volume: they are written with few
digits."""
MOST_MARKS = 3
"""By which the volumes of a series are told apart, such as echo, time and b-value."""
TILT = 0.01
"""Shift within the plane from slice to slice, as a share of their distance, from which the gantry was tilted."""
DIGITS = 8


@dataclass(frozen=True)
class Volume:
    """Slices that make up a volume, or the reason why they do not.

    Attributes:
        name: digits of a hash of the series and, where it holds several volumes, of what tells them apart.
        frames: the slices, sorted along their normal.
        problem: why they cannot be read as one volume; None where they can.
        doubts: why slices may be missing at an end, where no gap shows it.
    """

    name: str
    frames: tuple[Frame, ...]
    problem: ScanError | None = None
    doubts: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """Its files, in the order of their first slices."""
        return tuple(dict.fromkeys(frame.path for frame in self.frames))

    @property
    def header(self) -> ScanHeader:
        """The grid, of which columns, rows and slices are the axes.

        A slice's pixel in column i and row j lies at position + i * columns' direction + j * rows' direction (PS3.3
        C.7.6.2.1.1), and slice k at the first one's position and k times the way to the next.
        """
        assert self.problem is None
        first, last = self.frames[0], self.frames[-1]
        step = (np.array(last.position_mm) - first.position_mm) / (len(self.frames) - 1)
        distance = float(np.linalg.norm(step))
        directions = np.column_stack([first.orientation[:3], first.orientation[3:], step / distance])
        spacing = np.array([*first.pixel_spacing_mm, distance])
        shape = (*first.size, len(self.frames))
        return ScanHeader(shape, 1, affine_of(directions, spacing, np.array(first.position_mm)))


def find_volumes(frames: Iterable[Frame]) -> list[Volume]:
    """The volumes that slices of any number of series make up, in the order in which the series come."""
    by_series = _grouped(frames, lambda frame: frame.series)
    return [volume for series in by_series.values() for volume in _of_series(series)]


def _of_series(frames: Sequence[Frame]) -> list[Volume]:
    """The volumes of a series: by grid, by the marks that tell slices at one place apart, and by folder, for copies."""
    grids, volumes = _by_grid(frames), list[Volume]()
    for grid in grids:
        parts = _by_marks(grid)
        for marks, part in parts.items():
            key = (_signature(grid[0]) if len(grids) > 1 else (), marks)
            digest = hashlib.sha256(repr((frames[0].series, *(key if any(key) else ()))).encode()).hexdigest()
            found = [_volume(digest[:DIGITS], copy) for copy in _by_folder(part)]
            volumes += [_held_against(volume, parts.values()) for volume in found]
    failed = sum(volume.problem is not None for volume in volumes)
    doubt = (f"{count_of(failed, 'other part')} of its series cannot be used",) if failed else ()
    return [
        volume if volume.problem is not None else replace(volume, doubts=volume.doubts + doubt) for volume in volumes
    ]


def _held_against(volume: Volume, parts: Iterable[Sequence[Frame]]) -> Volume:
    """A volume that is doubtful where others of its series, told apart by marks, have more slices."""
    most = max(map(len, parts))
    if len(volume.frames) >= most:
        return volume
    return replace(volume, doubts=(f"it has {len(volume.frames)} slices, another volume of its series {most}",))


def _by_grid(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Slices of one size, spacing and orientation of one patient, whose cosines differ by rounding at most."""
    grids: list[list[Frame]] = []
    for frame in frames:
        alike = next((grid for grid in grids if _is_alike(grid[0], frame)), None)
        if alike is None:
            grids.append([frame])
        else:
            alike.append(frame)
    return grids


def _is_alike(one: Frame, other: Frame) -> bool:
    same = (one.belongs, one.size) == (other.belongs, other.size)
    return (
        same
        and _difference(one.orientation, other.orientation) <= SAME_COSINE
        and _difference(one.pixel_spacing_mm, other.pixel_spacing_mm) <= SAME_SPACING * one.pixel_spacing_mm[0]
    )


def _difference(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def _signature(frame: Frame) -> tuple[Hashable, ...]:
    """What tells a grid from the others of its series; it does not depend on where its files lie."""
    cosines = tuple(round(cosine, 2) + 0.0 for cosine in frame.orientation)
    return (frame.belongs, frame.size, cosines, tuple(round(mm, 2) for mm in frame.pixel_spacing_mm))


def _by_marks(frames: Sequence[Frame]) -> dict[Hashable, list[Frame]]:
    """The slices by the fewest marks that leave one at each place; all together where no marks do.

    Of several ways, the one counts in which the fewest parts are no volume, and then the one of the fewest parts.
    """
    if _places_differ(frames):
        return {(): list(frames)}
    varying = [place for place in range(len(DISTINGUISHING)) if len({frame.marks[place] for frame in frames}) > 1]
    ways, fitting = list[dict[Hashable, list[Frame]]](), list[dict[Hashable, list[Frame]]]()
    for count in range(1, min(len(varying), MOST_MARKS) + 1):
        ways += [_by(frames, places) for places in combinations(varying, count)]
        fitting = [way for way in ways if all(map(_places_differ, way.values()))]
        if any(_failing(way) == 0 for way in fitting):
            break
    return min(fitting, key=lambda way: (_failing(way), len(way)), default={(): list(frames)})


def _failing(way: Mapping[Hashable, Sequence[Frame]]) -> int:
    """How many parts are no volume."""
    return sum(_problem(_sorted(part)) is not None for part in way.values())


def _by(frames: Sequence[Frame], places: tuple[int, ...]) -> dict[Hashable, list[Frame]]:
    return _grouped(frames, lambda frame: tuple(frame.marks[place] for place in places))


def _by_folder(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Whole copies of a volume in several folders, each by itself; all together where that is not what they are."""
    folders = list(_grouped(frames, lambda frame: frame.path.parent).values())
    if len(folders) > 1 and not _places_differ(frames) and all(map(_places_differ, folders)):
        return folders
    return [list(frames)]


def _places_differ(frames: Sequence[Frame]) -> bool:
    return bool((np.diff(np.sort(_along(frames))) > EVEN_MM).all())


def _along(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """Where each slice lies along the normal of the first one."""
    return np.array([frame.position_mm for frame in frames]) @ frames[0].normal


def _sorted(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """Slices in the order of their places."""
    placed = zip(_along(frames).tolist(), frames, strict=True)
    ordered = sorted(placed, key=lambda pair: (pair[0], str(pair[1].path), pair[1].number))
    return tuple(frame for _, frame in ordered)


def _volume(name: str, frames: Sequence[Frame]) -> Volume:
    ordered = _sorted(frames)
    return Volume(name, ordered, _problem(ordered))


def _problem(frames: Sequence[Frame]) -> ScanError | None:
    """Why sorted slices are no volume."""
    if len(frames) == 1:
        found = "one, so that their distance is unknown"
        return ScanError("two slices or more", found, "Give the whole series.")
    along = _along(frames)
    gaps = np.diff(along)
    if gaps.min() <= EVEN_MM:
        return _doubles(along, gaps)
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])  # the median, or the lower one of two
    allowed = max(EVEN_MM, EVEN_SHARE * usual)
    even = np.linspace(along[0], along[-1], len(along))
    if (np.abs(gaps - usual) > allowed).any() or (np.abs(along - even) > allowed).any():
        return _gaps(along, gaps, usual=usual)
    return _tilt(frames) or _contrasts(frames)


def _doubles(along: NDArray[np.float64], gaps: NDArray[np.float64]) -> ScanError:
    places = sorted({along[index] for index in np.flatnonzero(gaps <= EVEN_MM).tolist()})
    found = f"several at {enumerate_names(f'{mm:.2f} mm' for mm in places)}, which nothing tells apart"
    return ScanError("one slice at each place", found, "Remove the doubles, or export the series again.")


def _contrasts(frames: Sequence[Frame]) -> ScanError | None:
    """Slices of several contrasts or times, none of which is whole: half of one beside half of another."""
    places = [DISTINGUISHING.index(name) for name in CONTRASTS]
    differing = [DISTINGUISHING[place] for place in places if len({frame.marks[place] for frame in frames}) > 1]
    if not differing:
        return None
    found = f"several ({enumerate_names(differing)}), each of which has places of its own"
    return ScanError("slices of one contrast and time", found, "Export the whole series again.")


def _gaps(along: NDArray[np.float64], gaps: NDArray[np.float64], *, usual: float) -> ScanError:
    wide = [index for index, gap in enumerate(gaps) if gap > 1.5 * usual]
    if wide:
        places = enumerate_names(f"{along[i]:.2f} and {along[i + 1]:.2f} mm" for i in wide)
        return ScanError(f"a slice every {usual:g} mm", f"none between {places}", "Export the whole series again.")
    found = f"distances from {gaps.min():g} to {gaps.max():g} mm"
    return ScanError("slices at equal distances", found, "Resample the series to equal distances on purpose.")


def _tilt(frames: Sequence[Frame]) -> ScanError | None:
    """Slices that are shifted against each other within their planes, as where the gantry was tilted."""
    steps = np.diff([frame.position_mm for frame in frames], axis=0)
    along = (steps @ frames[0].normal)[:, None] * frames[0].normal
    shift = np.linalg.norm(steps - along, axis=1) / np.linalg.norm(along, axis=1)
    if shift.max() <= TILT:
        return None
    degrees = float(np.degrees(np.arctan(np.median(shift))))
    return ScanError(
        "slices that lie straight behind each other",
        f"slices that are shifted (a gantry tilted by {degrees:.1f} degrees)",
        "Resample it upright (dcm2niix does).",
    )


def _grouped(frames: Iterable[Frame], key: Callable[[Frame], Hashable]) -> dict[Hashable, list[Frame]]:
    groups: dict[Hashable, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[key(frame)].append(frame)
    return dict(groups)
