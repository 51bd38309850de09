"""NRRD (.nrrd, or .nhdr beside its voxels): a header of ``field: value`` lines, an empty line, then the voxels.

Described at https://teem.sourceforge.net/nrrd/format.html. `itk` tells why ITK itself does not read it here. An axis of
the array is one of space, with a direction, or one of channels or of time, without one.
"""

import bz2
import gzip
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import geometry
from pipeline.errors import ScanError
from pipeline.formats import itk
from pipeline.formats.content import damaged, read_bytes
from pipeline.formats.detached import data_file
from pipeline.formats.format import Format, Mask
from pipeline.formats.image2d import picture_affine
from pipeline.formats.voxels import unpack
from pipeline.scan import Scan, ScanHeader

NAME = "NRRD"
MAX_HEADER_BYTES = 2**20
"""Headers of diffusion scans and of segmentations with many labels are long."""
WHOLE = "a whole NRRD file"
TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
"""Spaces of the patient, and the signs that turn each into RAS; each may be followed by time."""
CHANNEL_KINDS = {
    *("", "???", "none", "list", "time", "vector", "covariant-vector", "stub", "scalar"),
    *("2-vector", "3-vector", "4-vector", "3-gradient", "rgb-color", "3-color"),
}
"""What an axis without a direction may be: values that each make an image. Others (complex, matrices, RGBA) do not."""
SPACE_KINDS = {"", "???", "domain", "space"}
MILLIMETRES = {"", "mm", "millimeter", "millimeters", "millimetre", "millimetres"}

Direction = NDArray[np.float64] | None
"""Of an axis in the header's space; None where it has none."""


@dataclass(frozen=True)
class _Grid:
    """How the axes of the array are used.

    Attributes:
        sizes: of all axes of the array, the fastest first.
        space: the axes of the picture or the volume, in their order.
        channels: the axis of channels or of time, or None.
        affine: voxel index -> RAS.
        plane: where a picture lies in its file; None for a volume.
    """

    sizes: tuple[int, ...]
    space: tuple[int, ...]
    channels: int | None
    affine: geometry.Affine
    plane: itk.Plane | None = None

    @property
    def header(self) -> ScanHeader:
        """What is told of the file."""
        shape = (*(self.sizes[axis] for axis in self.space), 1)[:3]
        channels = 1 if self.channels is None else self.sizes[self.channels]
        return ScanHeader(shape, channels, self.affine, "px" if self.plane else "mm")


def recognises(head: bytes) -> bool:
    """Whether a file begins as every NRRD does."""
    return re.match(rb"NRRD000\d\r?\n", head) is not None


def read_header(path: Path) -> ScanHeader:
    """The grid, without the voxels.

    Raises:
        ScanError: the file is missing, no NRRD, or its geometry is not known.
    """
    fields, _ = _parse(read_bytes(path, MAX_HEADER_BYTES))
    _kind(fields)
    return _grid(fields).header


def read_scan(path: Path) -> Scan:
    """Read a volume (C, I, J, K), or a picture (C, I, J, 1) of unknown scale.

    Raises:
        ScanError: as `read_header`, and where the voxels are missing, damaged or cut off.
    """
    content = read_bytes(path)
    fields, end = _parse(content)
    grid = _grid(fields)
    name = fields.get("data file")
    stored = content[end:] if name is None else read_bytes(data_file(path, name))
    array = _voxels(stored, fields, grid.sizes)
    front = () if grid.channels is None else (grid.channels,)
    header, plane = grid.header, b"" if grid.plane is None else grid.plane.as_header()
    array = array.transpose(*front, *grid.space).reshape(header.channels, *header.shape)
    return Scan(array, header.affine, path, header.unit, NAME, plane)


def files(path: Path) -> tuple[Path, ...]:
    """The file, and that of its voxels where they are apart.

    Raises:
        ScanError: as `read_header`, and where they are not beside it.
    """
    name = _parse(read_bytes(path, MAX_HEADER_BYTES))[0].get("data file")
    return (path,) if name is None else (path, data_file(path, name))


def write_mask(target: Path, mask: Mask, scan: Scan, *, labels: Mapping[str, int]) -> None:
    """Write a mask (I, J, K) on a scan's own grid, whole or not at all.

    The names of the labels are fields that 3D Slicer gives a segmentation; to every other program the file is a plain
    label map.
    """
    itk.write_mask(target, mask, scan, fields=_segment_fields(labels, mask.shape))


def _segment_fields(labels: Mapping[str, int], shape: tuple[int, ...]) -> dict[str, str]:
    """Names and values of labels, as 3D Slicer writes them ("Segmentations" at https://slicer.readthedocs.io)."""
    extent = " ".join(f"0 {size - 1}" for size in shape)
    fields: dict[str, str] = {}
    for index, (name, value) in enumerate(labels.items()):
        of_one = {
            "ID": f"Segment_{value}",
            "Name": " ".join(name.split()),
            "LabelValue": f"{value}",
            "Layer": "0",
            "Extent": extent,
        }
        fields |= {f"Segment{index}_{key}": text for key, text in of_one.items()}
    return fields


def _parse(content: bytes) -> tuple[dict[str, str], int]:
    """The fields, by their names in lower case, and where the header ends; ``key:=value`` pairs are left out."""
    if not recognises(content):
        raise ScanError("a NRRD file", "one that does not begin with NRRD", "Export the scan again.")
    fields: dict[str, str] = {}
    end = 0
    for line in re.finditer(rb"([^\n]*?)\r?\n", content[:MAX_HEADER_BYTES]):
        end = line.end()
        if not line[1]:
            return _named_alike(fields), end
        name, separator, value = line[1].decode("latin-1").partition(": ")
        if separator and not name.startswith("#") and ":=" not in name:
            fields[name.strip().lower()] = value.strip()
    if "data file" in _named_alike(fields):  # a header in a file of its own may end without an empty line
        return _named_alike(fields), len(content)
    raise damaged(WHOLE, "its header has no end")


def _named_alike(fields: dict[str, str]) -> dict[str, str]:
    """Fields under one name each: some may be written in two ways."""
    other = {"datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}
    return {other.get(name, name): value for name, value in fields.items()}


def _required(fields: dict[str, str], name: str, why: str) -> str:
    if name not in fields:
        raise ScanError(f'a NRRD header with "{name}"', f"none, so that {why}", "Export the scan again.")
    return fields[name]


def _kind(fields: dict[str, str]) -> np.dtype:
    name = _required(fields, "type", "the number type is unknown").lower()
    code = next((code for code, names in TYPES.items() if name in names), None)
    if code is None:
        raise ScanError("a number for each voxel", f"the NRRD type {name}", "Export the scan again.")
    kind = np.dtype(code)
    if kind.itemsize == 1 or fields.get("encoding", "").lower() in {"ascii", "text", "txt"}:
        return kind
    order = _required(fields, "endian", "the order of bytes is unknown").lower()
    if order not in {"little", "big"}:
        raise ScanError("the byte order little or big", order, "Export the scan again.")
    return kind.newbyteorder("<" if order == "little" else ">")


def _grid(fields: dict[str, str]) -> _Grid:
    sizes = _sizes(fields)
    directions = _vectors(fields["space directions"], len(sizes)) if "space directions" in fields else None
    kinds = _words(fields.get("kinds", ""), len(sizes))
    channels = _channel_axis(kinds, directions)
    space = tuple(axis for axis in range(len(sizes)) if axis != channels)
    if len(space) not in {2, 3} or any(kinds[axis] not in SPACE_KINDS for axis in space):
        found = f"sizes {fields['sizes']}, kinds {fields.get('kinds', 'none')}"
        raise ScanError("a picture or a volume, with at most one axis of channels or time", found, "Save one volume.")
    columns = None if directions is None else [directions[axis] for axis in space]
    if len(space) == 3:
        return _Grid(sizes, space, channels, _affine(fields, columns))
    return _Grid(sizes, space, channels, picture_affine(), _plane(fields, columns))


def _sizes(fields: dict[str, str]) -> tuple[int, ...]:
    try:
        axes = int(_required(fields, "dimension", "the number of axes is unknown"))
        sizes = tuple(int(word) for word in _required(fields, "sizes", "the sizes are unknown").split())
    except ValueError:
        axes, sizes = 0, ()
    if len(sizes) != axes or not sizes or min(sizes) < 1:
        found = f"dimension {fields['dimension']}, sizes {fields.get('sizes')}"
        raise ScanError("a size above 0 for each axis of the NRRD", found, "Export the scan again.")
    return sizes


def _words(text: str, count: int) -> list[str]:
    words = text.lower().split() or [""] * count
    if len(words) != count:
        raise ScanError(f"{count} kinds of axes in the NRRD header", f"{text}", "Export the scan again.")
    return words


def _vectors(text: str, count: int) -> list[Direction]:
    """The direction of each axis, or None where it has none (or one of NaN, which means the same)."""
    try:
        words = re.findall(r"none|\([^)]*\)", text.lower())
        vectors = [None if word == "none" else np.array([float(x) for x in word[1:-1].split(",")]) for word in words]
    except ValueError:
        vectors = []
    if len(vectors) != count or len({len(vector) for vector in vectors if vector is not None}) > 1:
        raise ScanError(f"{count} directions in the NRRD header", text, "Export the scan again.")
    return [None if vector is None or np.isnan(vector).all() else vector for vector in vectors]


def _channel_axis(kinds: list[str], directions: list[Direction] | None) -> int | None:
    """The one axis that is not of space: without a direction, along time alone, or of a kind that says so."""
    if directions is None:
        found = [axis for axis, kind in enumerate(kinds) if kind not in SPACE_KINDS]
    else:
        found = [axis for axis, direction in enumerate(directions) if direction is None or not direction[:3].any()]
    if len(found) > 1:
        raise ScanError("at most one axis of channels or of time", f"{len(found)} of them", "Save one volume a file.")
    if found and kinds[found[0]] not in CHANNEL_KINDS:
        kind = kinds[found[0]]
        raise ScanError("channels that are images", f"an axis of the kind {kind}", "Save the images alone.")
    return found[0] if found else None


def _affine(fields: dict[str, str], directions: list[Direction] | None) -> geometry.Affine:
    space = fields.get("space", "").lower().removesuffix("-time")
    signs = SPACES.get(space) or SPACES.get(space.removesuffix("t"))
    if signs is None or directions is None:
        missing = "space directions" if signs else "space"
        raise ScanError(
            "a NRRD whose header relates it to the patient (space and space directions)",
            f"{missing}: {fields.get(missing, 'none')}, so that left and right are unknown",
            "Export the scan again from its original, or set them after checking the orientation.",
        )
    if any(unit.lower() not in MILLIMETRES for unit in re.findall(r'"([^"]*)"', fields.get("space units", ""))[:3]):
        raise ScanError("lengths in mm", f"space units: {fields['space units']}", "Convert them to mm.")
    columns = np.array([direction[:3] for direction in directions if direction is not None]).T
    if columns.shape != (3, 3):
        raise ScanError("a direction of three numbers for each axis", fields["space directions"], "Export it again.")
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = columns, _origin(fields, 3)
    affine[:3] *= np.array(signs)[:, None]
    return affine


def _origin(fields: dict[str, str], axes: int) -> NDArray[np.float64]:
    if "space origin" not in fields:
        return np.zeros(axes)
    (origin,) = _vectors(fields["space origin"], 1)
    if origin is None or len(origin) < axes:
        raise ScanError(f"{axes} numbers for the origin", fields["space origin"], "Export the scan again.")
    return origin[:axes]


def _plane(fields: dict[str, str], directions: list[Direction] | None) -> itk.Plane:
    """Spacing and origin of a picture, from its directions or, where it has none, its spacings."""
    if directions is None:
        numbers = [float(word) for word in fields.get("spacings", "1 1").split()]
        spacing = tuple(number for number in numbers if not np.isnan(number))  # NaN for channels
        return itk.Plane(spacing if len(spacing) == 2 else (1.0, 1.0), (0.0, 0.0))
    columns = np.array([direction for direction in directions if direction is not None]).T
    if columns.shape != (2, 2):
        raise ScanError("a picture in a plane of its own", "one with a position in space", "Save it as one slice.")
    lengths = np.linalg.norm(columns, axis=0)
    plane = itk.Plane(tuple(lengths.tolist()), tuple(_origin(fields, 2).tolist()))
    with np.errstate(all="ignore"):
        itk.check_plane(columns / lengths, plane)
    return plane


def _voxels(stored: bytes, fields: dict[str, str], sizes: tuple[int, ...]) -> NDArray:
    """The values, with the axes of the file."""
    kind, encoding = _kind(fields), _required(fields, "encoding", "how the voxels are stored is unknown").lower()
    stored = _skip(stored, fields, encoding, size=kind.itemsize * int(np.prod(sizes)))
    if encoding in {"ascii", "text", "txt"}:
        return _from_text(stored, kind, sizes)
    return unpack(_decoded(stored, encoding), kind, sizes, exact=True)


def _skip(stored: bytes, fields: dict[str, str], encoding: str, *, size: int) -> bytes:
    """What is left behind lines and bytes that the header says to skip; a byte skip of -1 leaves the end alone."""
    lines, skipped = (int(fields.get(name, "0")) for name in ("line skip", "byte skip"))
    if (lines or skipped) and encoding != "raw":
        raise ScanError("compressed voxels from the start", "a line skip or byte skip", "Export the scan again.")
    if skipped == -1:
        return stored[-size:]
    for _ in range(lines):
        stored = stored.partition(b"\n")[2]
    return stored[skipped:]


def _decoded(stored: bytes, encoding: str) -> bytes:
    decoders: dict[str, Callable[[bytes], bytes]] = {
        "raw": bytes,
        "gz": gzip.decompress,
        "gzip": gzip.decompress,
        "bz2": bz2.decompress,
        "bzip2": bz2.decompress,
        "hex": lambda text: bytes.fromhex(text.decode("ascii")),
    }
    if encoding not in decoders:
        raise ScanError(f"an encoding among {', '.join(decoders)}, ascii", encoding, "Export the scan again.")
    try:
        return decoders[encoding](stored)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise damaged(WHOLE, f"its {encoding} voxels") from error


def _from_text(stored: bytes, kind: np.dtype, sizes: tuple[int, ...]) -> NDArray:
    try:
        return np.array(stored.replace(b",", b" ").split(), dtype=kind).reshape(sizes, order="F")
    except (ValueError, OverflowError) as error:
        raise damaged(WHOLE, "its numbers as text") from error


FORMAT = Format(
    name=NAME,
    endings=(".nrrd", ".nhdr"),
    recognises=recognises,
    read_header=read_header,
    read_scan=read_scan,
    mask_endings=(".nrrd",),
    write_mask=write_mask,
    unmistakable=True,
    companions=(".raw", ".raw.gz"),
    headers=(".nhdr",),
    files=files,
)
