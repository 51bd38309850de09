"""Masks whose pixels are not label values: grey masks with a threshold, and colour-coded ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.config.data import BACKGROUND, MaskConfig
from pipeline.errors import ScanError
from pipeline.scan import Scan
from pipeline.wording import count_of, enumerate_names

Colour = tuple[int, int, int]
STRUCTURE = 1
"""Label value of the one structure of a mask with a threshold."""
BLACK = (0, 0, 0)


@dataclass(frozen=True)
class MaskCoding:
    """How pixels become label values.

    Attributes:
        threshold: what divides structure and background; None where there is no threshold.
        above: whether the structure lies above it.
        colours: colours and the label values that they stand for; empty where masks are not colour-coded.
        values: of the labels, in the order of the files where each label has one of its own.
    """

    threshold: float | None = None
    above: bool = True
    colours: tuple[tuple[Colour, int], ...] = ()
    values: tuple[int, ...] = ()

    @classmethod
    def of(cls, config: MaskConfig, labels: dict[str, int]) -> Self:
        """The coding of a configuration.

        Args:
            config: how masks are coded.
            labels: name and value of each structure, by which colours are given.
        """
        colours = {name: colour for name, colour in (config.colours or {}).items() if name != BACKGROUND}
        background = (config.colours or {}).get(BACKGROUND, BLACK)
        table = [(colour, labels[name]) for name, colour in colours.items()]
        if colours and background not in colours.values():
            table.append((background, 0))
        return cls(config.threshold, config.marked == "above", tuple(table), tuple(labels.values()))

    @property
    def is_plain(self) -> bool:
        """Whether pixels are label values as they are."""
        return self.threshold is None and not self.colours

    def decode(self, scan: Scan) -> Scan:
        """A mask (1, I, J, K) of label values.

        Args:
            scan: the mask as it is stored: one channel, or the three of a colour.

        Raises:
            ScanError: it has another number of channels, or a colour that is not in the table.
        """
        assert not self.is_plain
        labels = self._by_colour(scan) if self.colours else self._by_threshold(scan)
        return replace(scan, array=labels[None])

    def merge(self, scans: Sequence[Scan]) -> Scan:
        """One mask (1, I, J, K) of label values from a file a label, in which the label is what is not zero.

        Raises:
            ScanError: a file has more than one value that is not zero, or a voxel belongs to two labels.
        """
        assert len(scans) == len(self.values), (len(scans), self.values)
        labels = np.zeros(scans[0].shape, np.uint16)
        for scan, value in zip(scans, self.values, strict=True):
            inside = (scan.array != 0).any(0)
            grey = np.unique(scan.array[:, inside])
            if len(grey) > 1:
                raise ScanError(
                    "one value besides 0 in the file of a label",
                    f"{len(grey)} ({enumerate_names(f'{level:g}' for level in grey)}) in {scan.source.name}",
                    "Where its edges are grey, or it numbers instances, give data.mask.threshold.",
                )
            both = int(np.count_nonzero(labels[inside]))
            if both:
                found = f"{count_of(both, 'voxel')} in {scan.source.name} that another label has too"
                raise ScanError("one label a voxel", found, "Decide which one it is, and correct the masks.")
            labels[inside] = value
        return replace(scans[0], array=labels[None])

    def _by_threshold(self, scan: Scan) -> NDArray[np.uint8]:
        grey = _grey(scan.array)
        if grey is None:
            raise ScanError("a grey mask, as data.mask.threshold needs", "colours", "Give data.mask.colours instead.")
        assert self.threshold is not None
        values = np.unique(grey)
        if len(values) == 2 and (values > self.threshold).all() == (values > self.threshold).any():
            found = f"the two values {values[0]:g} and {values[1]:g}"
            remedy = "Give the data.mask of these masks, in a configuration; it is not that of the others."
            raise ScanError(f"a grey mask that {self.threshold:g} divides (data.mask.threshold)", found, remedy)
        return ((grey > self.threshold) == self.above).astype(np.uint8) * np.uint8(STRUCTURE)

    def _by_colour(self, scan: Scan) -> NDArray[np.uint16]:
        array = np.broadcast_to(scan.array, (3, *scan.shape)) if scan.channels == 1 else scan.array
        if len(array) != len(BLACK):
            raise ScanError("a mask of colours (3 channels) or of greys (1)", f"{len(array)} channels", "Convert it.")
        labels, known = np.zeros(scan.shape, np.uint16), np.zeros(scan.shape, bool)
        for colour, value in self.colours:
            same = (array == np.array(colour).reshape(3, 1, 1, 1)).all(0)
            labels[same], known = value, known | same
        if not known.all():
            raise _unknown_colours(array[:, ~known])
        return labels


PLAIN = MaskCoding()


def _grey(array: NDArray) -> NDArray | None:
    """The one channel of a grey image, which may be stored as three equal ones; None for colours."""
    return array[0] if (array == array[:1]).all() else None


def _unknown_colours(pixels: NDArray) -> ScanError:
    colours, counts = np.unique(pixels, axis=1, return_counts=True)
    common = [tuple(int(value) for value in colours[:, place]) for place in np.argsort(-counts)]
    return ScanError(
        "the colours of data.mask.colours",
        f"also {enumerate_names(map(str, common))} in {pixels.shape[1]} pixels",
        "Add them to the table; where edges are blurred, export the mask without smoothing.",
    )
