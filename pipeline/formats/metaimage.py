"""MetaImage (.mha, or .mhd beside its voxels): a header of ``Key = value`` lines, then the voxels, first axis fastest.

Described at https://itk.org/Wiki/ITK/MetaIO/Documentation. `itk` tells why ITK itself does not read it here.
"""

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ScanError
from pipeline.formats import itk
from pipeline.formats.content import damaged, read_bytes
from pipeline.formats.detached import data_file
from pipeline.formats.format import Format, Mask, without_names
from pipeline.formats.image2d import picture_affine
from pipeline.formats.voxels import unpack
from pipeline.scan import Scan, ScanHeader

NAME = "MetaImage"
MAX_HEADER_BYTES = 2**16
LAST_KEY = "ElementDataFile"
TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
"""Number types; a long has four bytes (metaTypes.h)."""
MATRICES = ("TransformMatrix", "Rotation", "Orientation")
ORIGINS = ("Offset", "Position", "Origin")
UNIT_TOLERANCE = 0.01


@dataclass(frozen=True)
class _Header:
    """The lines of a header, and where it ends."""

    fields: dict[str, str]
    end: int

    def get(self, key: str, default: str) -> str:
        return self.fields.get(key, default)

    def required(self, key: str, why: str) -> str:
        if key not in self.fields:
            raise ScanError(f"a MetaImage header with {key}", f"none, so that {why}", f"Add {key} after checking it.")
        return self.fields[key]

    def numbers(self, text: str, count: int, key: str) -> NDArray[np.float64]:
        try:
            values = np.array([float(word) for word in text.split()])
        except ValueError:
            values = np.array([])
        if len(values) != count or not np.isfinite(values).all():
            raise ScanError(f"{count} numbers for {key} in the MetaImage header", repr(text), "Export it again.")
        return values


@dataclass(frozen=True)
class _Layout:
    """How the voxels lie in the file: sizes of all axes of the grid, values a voxel, and their number type."""

    sizes: tuple[int, ...]
    components: int
    kind: np.dtype


def recognises(head: bytes) -> bool:
    """Whether a file begins with one of the lines that a MetaImage begins with."""
    return re.match(rb"\s*(ObjectType\s*=\s*Image|NDims\s*=\s*\d+)\s", head) is not None


def read_header(path: Path) -> ScanHeader:
    """The grid, without the voxels.

    Raises:
        ScanError: the file is missing, no MetaImage, or its geometry is not known.
    """
    header = _parse(read_bytes(path, MAX_HEADER_BYTES))
    layout = _layout(header)
    if len(layout.sizes) == 2:
        _plane(header)
        return ScanHeader((*layout.sizes, 1), layout.components, picture_affine(), "px")
    return ScanHeader(layout.sizes[:3], layout.components * _frames(layout), _affine(header, len(layout.sizes)))


def read_scan(path: Path) -> Scan:
    """Read a volume (C, I, J, K), or a picture (C, I, J, 1) of unknown scale.

    Raises:
        ScanError: as `read_header`, and where the voxels are missing, damaged or cut off.
    """
    content, known = read_bytes(path), read_header(path)
    header = _parse(content)
    array = _voxels(path, content, header)
    plane = _plane(header).as_header() if known.unit == "px" else b""
    return Scan(array.reshape(-1, *known.shape), known.affine, path, known.unit, NAME, plane)


def files(path: Path) -> tuple[Path, ...]:
    """The file, and that of its voxels where they are apart.

    Raises:
        ScanError: as `read_header`, and where they are not beside it.
    """
    name = _parse(read_bytes(path, MAX_HEADER_BYTES)).fields[LAST_KEY]
    return (path,) if name.upper() == "LOCAL" else (path, data_file(path, name))


def write_mask(target: Path, mask: Mask, scan: Scan) -> None:
    """Write a mask (I, J, K) on a scan's own grid, whole or not at all."""
    itk.write_mask(target, mask, scan, fields={})


def _parse(content: bytes) -> _Header:
    fields: dict[str, str] = {}
    end = 0
    for line in re.finditer(rb"([^\n]*)(?:\n|\Z)", content[:MAX_HEADER_BYTES]):
        key, equals, value = line[1].decode("latin-1").partition("=")
        if not key.strip():
            continue
        if not equals:
            break
        fields[key.strip()] = value.strip()
        end = line.end()
        if key.strip() == LAST_KEY:
            return _Header(fields, end)
    raise ScanError(
        f"a MetaImage header that ends with {LAST_KEY}",
        "one that is cut off" if fields else "no header",
        "Export it again.",
    )


def _layout(header: _Header) -> _Layout:
    if header.get("ObjectType", "Image") != "Image":
        raise ScanError("an image", f"a MetaImage of the type {header.fields['ObjectType']}", "Give the scan itself.")
    sizes = _sizes(header)
    kind = header.required("ElementType", "the number type is unknown").removesuffix("_ARRAY")
    if kind not in TYPES:
        raise ScanError(f"a number type among {', '.join(TYPES)}", kind, "Export it again.")
    big = header.get("BinaryDataByteOrderMSB", header.get("ElementByteOrderMSB", "False"))
    (components,) = header.numbers(header.get("ElementNumberOfChannels", "1"), 1, "ElementNumberOfChannels")
    if components < 1 or (len(sizes) == 4 and components > 1):
        raise ScanError("channels or several volumes", f"{components:g} channels in 4D", "Save one volume a file.")
    _check_meaning(header)
    return _Layout(sizes, int(components), np.dtype((">" if _is_true(big) else "<") + TYPES[kind]))


def _sizes(header: _Header) -> tuple[int, ...]:
    axes = header.required("NDims", "the number of axes is unknown")
    if axes not in {"2", "3", "4"}:
        raise ScanError("a MetaImage of 2, 3 or 4 axes", f"NDims = {axes}", "Save one volume a file.")
    sizes = header.numbers(header.required("DimSize", "the sizes are unknown"), int(axes), "DimSize")
    if min(sizes) < 1 or any(size != int(size) for size in sizes):
        raise ScanError("sizes of at least 1", f"DimSize = {header.fields['DimSize']}", "Export it again.")
    return tuple(int(size) for size in sizes)


def _check_meaning(header: _Header) -> None:
    """Refuse what ITK leaves unheeded and what others may not."""
    if header.get("DistanceUnits", "mm").lower() not in {"mm", "?", ""}:
        raise ScanError("lengths in mm", f"DistanceUnits = {header.fields['DistanceUnits']}", "Convert them to mm.")
    slope, offset = (
        header.numbers(header.get(key, default), 1, key)[0]
        for key, default in (("ElementToIntensityFunctionSlope", "1"), ("ElementToIntensityFunctionOffset", "0"))
    )
    if (slope, offset) != (1, 0):
        raise ScanError(
            "intensities as they are stored",
            f"a slope of {slope:g} and an offset of {offset:g}, which most programs ignore",
            "Apply them, or set them to 1 and 0.",
        )


def _affine(header: _Header, axes: int) -> np.ndarray:
    spacing_mm = header.numbers(
        header.required("ElementSpacing", "the size of a voxel is unknown"), axes, "ElementSpacing"
    )
    directions, origin_mm = _directions(header, axes), _origin(header, axes)
    return itk.affine_of(directions[:3, :3], spacing_mm[:3], origin_mm[:3])


def _origin(header: _Header, axes: int) -> NDArray[np.float64]:
    given = next((key for key in ORIGINS if key in header.fields), None)
    return np.zeros(axes) if given is None else header.numbers(header.fields[given], axes, given)


def _directions(header: _Header, axes: int) -> NDArray[np.float64]:
    """A column an axis, in LPS; the file lists axis after axis."""
    given = next((key for key in MATRICES if key in header.fields), None)
    if given is None:
        raise ScanError(
            "a MetaImage header with TransformMatrix",
            "none, so that left and right are unknown",
            "Add TransformMatrix after checking the orientation, or convert the original DICOM again.",
        )
    matrix = header.numbers(header.fields[given], axes**2, given).reshape(axes, axes).T
    lengths = np.linalg.norm(matrix, axis=0)
    apart = axes < 4 or not (matrix[3, :3].any() or matrix[:3, 3].any())
    if np.abs(lengths - 1).max() > UNIT_TOLERANCE or not apart:
        raise ScanError("directions of length 1, time apart", f"{given} = {header.fields[given]}", "Export it again.")
    return matrix


def _plane(header: _Header) -> itk.Plane:
    ones = " ".join(["1"] * 2)
    spacing = header.numbers(header.get("ElementSpacing", ones), 2, "ElementSpacing")
    plane = itk.Plane(tuple(spacing.tolist()), tuple(_origin(header, 2).tolist()))
    itk.check_plane(_directions(header, 2) if any(key in header.fields for key in MATRICES) else np.eye(2), plane)
    return plane


def _frames(layout: _Layout) -> int:
    return layout.sizes[3] if len(layout.sizes) == 4 else 1


def _voxels(path: Path, content: bytes, header: _Header) -> NDArray:
    """The values (C, I, J[, K]): a voxel's components lie side by side, volumes one behind the other."""
    layout, name = _layout(header), header.fields[LAST_KEY]
    stored = content[header.end :] if name.upper() == "LOCAL" else read_bytes(data_file(path, name))
    shape = (layout.components, *layout.sizes)
    if not _is_true(header.get("BinaryData", "True")):
        array = _from_text(stored, layout.kind, shape)
    else:
        stored = _unpacked(stored, header, layout.kind.itemsize * int(np.prod(shape)))
        array = unpack(stored, layout.kind, shape, exact=True)
    return np.moveaxis(array, -1, 0) if len(layout.sizes) == 4 else array


def _unpacked(stored: bytes, header: _Header, expected: int) -> bytes:
    if not _is_true(header.get("CompressedData", "False")):
        (skipped,) = header.numbers(header.get("HeaderSize", "0"), 1, "HeaderSize")
        return stored[-expected:] if skipped == -1 else stored[max(int(skipped), 0) :]
    stream = zlib.decompressobj(wbits=47)  # zlib's own wrapping, or gzip's
    try:
        unpacked = stream.decompress(stored, expected + 1)
    except zlib.error as error:
        raise damaged("a whole MetaImage file", "its compressed voxels") from error
    if not stream.eof or len(unpacked) != expected:
        raise damaged("a whole MetaImage file", f"{len(unpacked)} of {expected} bytes of voxels")
    return unpacked


def _from_text(stored: bytes, kind: np.dtype, shape: tuple[int, ...]) -> NDArray:
    try:
        values = np.array(stored.split(), dtype=kind.newbyteorder("="))
        return values.reshape(shape, order="F")
    except (ValueError, OverflowError) as error:
        raise damaged("a whole MetaImage file", "its numbers as text") from error


def _is_true(text: str) -> bool:
    return text[:1] in {"T", "t", "1", "Y", "y"}


FORMAT = Format(
    name=NAME,
    endings=(".mha", ".mhd"),
    recognises=recognises,
    read_header=read_header,
    read_scan=read_scan,
    mask_endings=(".mha",),
    write_mask=without_names(write_mask),
    unmistakable=True,
    companions=(".raw", ".zraw", ".raw.gz"),
    headers=(".mhd",),
    files=files,
)
