"""A page of a scan with its mask over it, slice by slice: one file that needs nothing else."""

import base64
import io
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline import geometry
from pipeline.figures import (
    AXIAL,
    BAR_SHARE,
    COLOURS,
    EDGES,
    PLANES,
    cut_plane,
    grey_window,
    round_length_mm,
    scaled,
    shown_channels,
    size_mm,
)
from pipeline.report.html import render
from pipeline.scan import Scan

Slice = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Grey values, or colours in a third axis, and numbers of labels, of one plane; rows from top to bottom."""
MOST_BYTES = 4_400_000
"""Of all pictures; as text they take a third more, and a page has to stay below 8 MB."""
LARGEST_SIDE, SMALLEST_SIDE = 1024, 192
"""Pixels of the longer side: more than most screens show, and the least before slices are left out instead."""
QUALITY = 60
"""Of the JPEG: the noise of a scan costs most, and shows least."""
SAMPLED = 12
"""Slices that are encoded to learn how large all of them will be."""
BLOCK = 32
"""Planes that are copied at a time: one by one, planes that lie across the memory would touch all of it each time."""
COARSER = 1.1
"""From this ratio of spacings on, an axis is the one across the slices; below it, scans are shown in axial ones."""
MOST_LABELS = 255
CT_WINDOWS = {"soft tissue": (-160.0, 240.0), "lung": (-1350.0, 150.0)}
"""Black and white in Hounsfield units. Bone has none: 8 bits for all of CT leave too few greys for it."""
AIR_HU, DARKEST_HU = -500.0, -5000.0
"""Values are taken for Hounsfield units where black is between these: no other scan has as much below zero."""


@dataclass(frozen=True)
class _Stack:
    """A scan in RAS order, looked at along an axis.

    Attributes:
        levels: (C, I, J, K), of one channel or three.
        numbers: of the labels (I, J, K), 0 for none.
        axis: across the slices.
        spacing_mm: along the axes.
        window: values that are black and white.
    """

    levels: NDArray
    numbers: NDArray[np.uint8]
    axis: int
    spacing_mm: tuple[float, ...]
    window: tuple[float, float]

    @property
    def count(self) -> int:
        """Slices."""
        return self.numbers.shape[self.axis]

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height of a slice."""
        return size_mm(self.numbers.shape, self.spacing_mm, self.axis)

    def native_pixels(self) -> tuple[int, int]:
        """Width and height in pixels at the finer of the two spacings."""
        width_mm, height_mm = self.size_mm
        finer_mm = min(mm for axis, mm in enumerate(self.spacing_mm) if axis != self.axis)
        return max(1, round(width_mm / finer_mm)), max(1, round(height_mm / finer_mm))

    def full_pixels(self) -> tuple[int, int]:
        """The same, within bounds."""
        width, height = self.native_pixels()
        scale = min(1.0, LARGEST_SIDE / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))

    def slices(self, indices: Sequence[int]) -> Iterator[Slice]:
        """The planes at rising indices."""
        start = stop = 0
        for index in indices:
            if index >= stop:
                start, stop = index, index + BLOCK
                levels = np.ascontiguousarray(self._block(self.levels, start, stop))
                numbers = np.ascontiguousarray(self._block(self.numbers[None], start, stop))
            grey = [cut_plane(channel, 0, index - start) for channel in levels]
            yield self._as_bytes(np.stack(grey, -1)), cut_plane(numbers[0], 0, index - start)

    def _block(self, volume: NDArray, start: int, stop: int) -> NDArray:
        return np.moveaxis(volume, 1 + self.axis, 1)[:, start:stop]

    def _as_bytes(self, plane: NDArray) -> NDArray[np.uint8]:
        return (scaled(plane, self.window) * 255).astype(np.uint8)


@dataclass(frozen=True)
class _Pictures:
    """Slices as files.

    Attributes:
        indices: of the slices in RAS order.
        pixels: width and height of each.
        scans: JPEG.
        masks: the labels' numbers, rows from top to bottom, compressed by zlib; None where there is none. They are no
            pictures, because browsers that guard against fingerprinting alter what a page reads back from one.
        areas: voxels of the labels in each, by their numbers.
    """

    indices: list[int]
    pixels: tuple[int, int]
    scans: list[bytes]
    masks: list[bytes | None]
    areas: list[NDArray[np.int64]]

    @property
    def total_bytes(self) -> int:
        """Of all files."""
        return sum(map(len, self.scans)) + sum(len(mask) for mask in self.masks if mask is not None)


def viewer_page(
    scan: Scan, mask: NDArray[np.unsignedinteger], *, labels: dict[str, int], title: str, reasons: Sequence[str] = ()
) -> str:
    """A page through whose slices a person can go, with the mask drawn over them.

    The slices are those of the finest pixels, the patient's right on the left. They are compressed, and made smaller
    where the page would become larger than 8 MB; of very many, some are left out, and the page says so.

    Args:
        scan: `shown_channels` of it are shown.
        mask: label values (I, J, K).
        labels: name and value of each structure; the first 255 are shown.
        title: the name of the case.
        reasons: why the mask is to be reviewed.
    """
    stack = _stack(scan, mask, labels)
    pictures = _encode(stack)
    return render(
        "viewer.html",
        case=title,
        reasons=list(reasons),
        labels=_labels(list(labels)[:MOST_LABELS], pictures),
        windows=_windows(stack, scan),
        step=pictures.indices[1] - pictures.indices[0] if len(pictures.indices) > 1 else 1,
        scale=min(1.0, pictures.pixels[0] / stack.native_pixels()[0]),
        content=_script_json(_content(stack, pictures, scan)),
        provenance=[],
    )


def _stack(scan: Scan, mask: NDArray[np.unsignedinteger], labels: dict[str, int]) -> _Stack:
    turn, spacing_mm = geometry.to_ras(scan.affine), geometry.ras_spacing_mm(scan.affine)
    levels = turn.apply(shown_channels(scan))
    return _Stack(
        levels,
        turn.apply(_numbers(mask, labels)[None])[0],
        _axis(levels.shape[1:], spacing_mm),
        spacing_mm,
        grey_window(levels),
    )


def _axis(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> int:
    """The axis across the slices: that of a single slice, or the coarsest, or foot-head."""
    if 1 in shape:
        return shape.index(1) if shape[AXIAL] != 1 else AXIAL
    *_, second, largest = sorted(spacing_mm)
    return int(np.argmax(spacing_mm)) if largest >= COARSER * second else AXIAL


def _numbers(mask: NDArray[np.unsignedinteger], labels: dict[str, int]) -> NDArray[np.uint8]:
    """1 for the first label, 2 for the second ..., 0 for none of them."""
    table = np.zeros(max(int(mask.max(initial=0)), *labels.values()) + 1, np.uint8)
    for number, value in enumerate(list(labels.values())[:MOST_LABELS], start=1):
        table[value] = number
    return table[mask]


def _encode(stack: _Stack) -> _Pictures:
    """Pictures of all slices, as large as there is room for."""
    width, height = stack.full_pixels()
    step, scale = 1, min(1.0, math.sqrt(MOST_BYTES / _expected_bytes(stack)))
    while scale * max(width, height) < min(SMALLEST_SIDE, max(width, height)) and step < stack.count:
        step += 1
        scale = min(1.0, scale * math.sqrt(step / (step - 1)))
    while True:
        pixels = max(1, round(width * scale)), max(1, round(height * scale))
        pictures = _encode_at(stack, range(0, stack.count, step), pixels)
        if pictures.total_bytes <= MOST_BYTES or max(pixels) == 1:
            return pictures
        scale *= 0.95 * math.sqrt(MOST_BYTES / pictures.total_bytes)


def _expected_bytes(stack: _Stack) -> float:
    """What all slices would take at their full size, told from some of them."""
    indices = sorted(set(np.linspace(0, stack.count - 1, SAMPLED).round().astype(int).tolist()))
    return _encode_at(stack, indices, stack.full_pixels()).total_bytes / len(indices) * stack.count


def _encode_at(stack: _Stack, indices: Sequence[int], pixels: tuple[int, int]) -> _Pictures:
    pictures = _Pictures(list(indices), pixels, [], [], [])
    for grey, numbers in stack.slices(indices):
        areas = np.bincount(numbers.reshape(-1), minlength=MOST_LABELS + 1)
        areas[0] = 0
        pictures.scans.append(_jpeg(grey, pixels))
        pictures.masks.append(_deflated(numbers, pixels) if areas.any() else None)
        pictures.areas.append(areas)
    return pictures


def _jpeg(grey: NDArray[np.uint8], pixels: tuple[int, int]) -> bytes:
    picture = Image.fromarray(grey[..., 0] if grey.shape[-1] == 1 else grey)
    stream = io.BytesIO()
    picture.resize(pixels, Image.Resampling.BILINEAR).save(stream, "jpeg", quality=QUALITY)
    return stream.getvalue()


def _deflated(numbers: NDArray[np.uint8], pixels: tuple[int, int]) -> bytes:
    return zlib.compress(Image.fromarray(numbers).resize(pixels, Image.Resampling.NEAREST).tobytes())


def _labels(names: Sequence[str], pictures: _Pictures) -> list[dict[str, Any]]:
    """Of each label its name, its colour as CSS has it, and the place of the slice with most of it, or None."""
    areas = np.stack(pictures.areas)
    return [
        {
            "name": name,
            "colour": f"rgb{COLOURS[place % len(COLOURS)]}",
            "most": int(areas[:, place + 1].argmax()) if areas[:, place + 1].any() else None,
        }
        for place, name in enumerate(names)
    ]


def _windows(stack: _Stack, scan: Scan) -> dict[str, tuple[float, float]]:
    """Windows to choose from besides the whole range."""
    return CT_WINDOWS if scan.unit == "mm" and DARKEST_HU < stack.window[0] <= AIR_HU else {}


def _content(stack: _Stack, pictures: _Pictures, scan: Scan) -> dict[str, Any]:
    """What the page's script reads."""
    width_mm, height_mm = stack.size_mm
    bar = round_length_mm(BAR_SHARE * width_mm)
    in_patient = scan.unit == "mm"
    return {
        "count": stack.count,
        "indices": pictures.indices,
        "pixels": pictures.pixels,
        "aspect": width_mm / height_mm,
        "edges": EDGES[stack.axis] if in_patient else [],
        "plane": PLANES[stack.axis] if in_patient else "",
        "bar": {"share": bar / width_mm, "text": f"{bar:g} {scan.unit}"},
        "colours": [COLOURS[place % len(COLOURS)] for place in range(MOST_LABELS)],
        "labels": [np.flatnonzero(areas).tolist() for areas in pictures.areas],
        "fullest": _fullest(pictures),
        "range": stack.window,
        "scans": [base64.b64encode(each).decode("ascii") for each in pictures.scans],
        "masks": [None if each is None else base64.b64encode(each).decode("ascii") for each in pictures.masks],
    }


def _fullest(pictures: _Pictures) -> int:
    """The place of the slice with most of all labels, or of the middle one where there are none."""
    areas = [int(each.sum()) for each in pictures.areas]
    return int(np.argmax(areas)) if any(areas) else len(areas) // 2


def _script_json(content: dict[str, Any]) -> str:
    """JSON that nothing in it can end the script element of."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
