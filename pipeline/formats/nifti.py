"""NIfTI files (.nii, .nii.gz), version 1 and 2, through nibabel.

nibabel's arrays are indexed I, J, K and its affines map to RAS mm, which are this project's conventions as well; only
the channel axis is added here. A file whose geometry or values would have to be guessed is refused.
"""

import gzip
import math
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from pipeline import geometry
from pipeline.errors import ScanError
from pipeline.files import atomic_path
from pipeline.scan import Scan
from pipeline.wording import count_of, printable

SUFFIXES = (".nii", ".nii.gz")
HEADER_BYTES = 544  # NIfTI-2's 540 and the four bytes that announce extensions
GZIP_MAGIC = b"\x1f\x8b"
MAGICS = (b"n+1", b"n+2")  # header and voxels in one file; pairs say ni1 and ni2
BYTE_ORDERS: dict[str, Literal["little", "big"]] = {"<": "little", ">": "big"}
MAX_OFFSET = 2**40
MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # by NIfTI's code: not given (mm is usual), metre, mm, micrometre
GEOMETRY_FIELDS = (
    *("pixdim", "xyzt_units", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)
"""What a mask takes over from its scan's header, form codes aside."""
ALIGNED = 2
"""The NIfTI code of a space that is not the scanner's and no atlas; also what a code counts as that NIfTI lacks."""
SPACING_TOLERANCE = 0.01
ANGLE_TOLERANCE = 1.0
"""Degrees that an axis of the sform may lie apart from its counterpart in the qform. Quaternions stored in 32 bits and
axes rounded to four digits stay far below; from here on, the ends of a head of 200 mm are more than 3 mm apart."""
COPLANAR = 1e-3
"""Volume spanned by the three axis directions (1 where they are square) below which they lie in a plane."""
LARGEST_NIFTI1_AXIS = 2**15 - 1
WHOLE_TOLERANCE = 1e-3
LARGEST_VALUE = float(np.finfo(np.float32).max)
"""Everything after reading computes in 32 bits."""


Form = tuple[geometry.Affine | None, int]


@dataclass(frozen=True)
class NiftiHeader:
    """What a header says, before any voxel is read.

    Attributes:
        shape: (I, J, K) in voxels.
        channels: images on the grid; more than one for 4D files.
        affine: voxel index -> RAS mm.
    """

    shape: tuple[int, ...]
    channels: int
    affine: geometry.Affine


def case_name(path: Path) -> str | None:
    """The file's name without .nii or .nii.gz, as it can be printed; None where it has neither ending."""
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return printable(path.name[: -len(suffix)])
    return None


def read_header(path: Path) -> NiftiHeader:
    """Shape and affine of a volume, without its voxels.

    Raises:
        ScanError: the file is missing, no NIfTI, no real-valued volume, or its geometry is ambiguous.
    """
    return _check_header(_parse_header(_read_bytes(path, HEADER_BYTES)))


def read_scan(path: Path) -> Scan:
    """Read a volume (C, I, J, K); the fourth axis of a 4D file becomes the channels.

    Raises:
        ScanError: as `read_header`, and where the file is damaged, cut off, or holds values that 32 bits do not.
    """
    content = _read_bytes(path)
    raw = _parse_header(content)
    header = _check_header(raw)
    array = _voxels(content, raw, (*header.shape, header.channels))
    finite = np.isfinite(array)
    if not finite.all():
        count = int(array.size - finite.sum())
        raise ScanError(
            "finite values",
            f"NaN or infinity in {count_of(count, 'voxel')}",
            "Find out what they stand for and replace them.",
        )
    if array.itemsize > 4 and np.abs(array).max() > LARGEST_VALUE:
        raise ScanError(
            f"values up to {LARGEST_VALUE:.0e}", f"{np.abs(array).max():.3g}", "Find out what it stands for."
        )
    return Scan(np.moveaxis(array, -1, 0), header.affine, path, _grid_header(raw).binaryblock)


def read_mask(path: Path) -> Scan:
    """Read a mask (1, I, J, K) of whole label values, as the smallest unsigned integer type that holds them.

    Whole numbers that were stored as floats, or rounded on the way (0.99999997), are taken as the labels they are.

    Raises:
        ScanError: as `read_scan`, and where the mask has several channels, fractions or negative values.
    """
    scan = read_scan(path)
    if scan.channels != 1:
        raise ScanError("a mask with one label a voxel", f"{scan.channels} channels", "Merge them into one label map.")
    labels = _whole(scan.array)
    if labels.min() < 0 or labels.max() >= 2**16:
        raise ScanError(
            "label values from 0 to 65535", f"values from {labels.min():g} to {labels.max():g}", "Renumber the labels."
        )
    kind = np.uint8 if labels.max() < 2**8 else np.uint16
    return replace(scan, array=labels.astype(kind))


def write_mask(target: Path, mask: NDArray[np.unsignedinteger], scan: Scan) -> None:
    """Write a mask (I, J, K) on the scan's own grid, whole or not at all.

    A mask of a NIfTI scan gets that file's own qform and sform, so that every viewer lays it over the scan, whichever
    form it prefers. Free text of the scan's header (it can name the patient) and its extensions are left behind.
    """
    assert mask.shape == scan.shape, (mask.shape, scan.shape)
    header = _parse_header(scan.nifti_header) if scan.nifti_header else _new_header(scan)
    header.set_data_shape(scan.shape)
    header.set_data_dtype(mask.dtype)
    image = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
    with atomic_path(target) as path:
        image(mask, None, header).to_filename(path)


def _new_header(scan: Scan) -> nibabel.Nifti1Header:
    header = nibabel.Nifti2Header() if max(scan.shape) > LARGEST_NIFTI1_AXIS else nibabel.Nifti1Header()
    header.set_sform(scan.affine, code="scanner")
    header.set_qform(scan.affine, code="scanner")
    header.set_xyzt_units("mm")
    return header


def _grid_header(source: nibabel.Nifti1Header) -> nibabel.Nifti1Header:
    """The forms of a header, and nothing else of it."""
    header = type(source)()  # little-endian, with no text
    for name in GEOMETRY_FIELDS:
        header[name] = source[name]
    header["pixdim"][0] = _handedness(source)
    for name, (form, code) in zip(("sform_code", "qform_code"), _forms(source), strict=True):
        header[name] = 0 if form is None else code
    return header


def _read_bytes(path: Path, limit: int = -1) -> bytes:
    """The uncompressed content, or its beginning; without a limit to its end, so that gzip's checksum is verified."""
    if case_name(path) is None:
        raise ScanError("a NIfTI file (.nii, .nii.gz)", f"the ending {path.suffix or 'none'}", "Convert it to NIfTI.")
    if path.exists() and not (path.is_file() or path.is_dir()):  # to open a pipe would be to wait for its writer
        raise ScanError("a file", "a pipe or a device", "Check the path.")
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            return stream.read(limit)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _broken_gzip(path) from error
    except OSError as error:
        raise ScanError(
            "a readable file", error.strerror or _plain(error), "Check the path and its permissions."
        ) from error


def _broken_gzip(path: Path) -> ScanError:
    with path.open("rb") as stream:
        compressed = stream.read(2) == GZIP_MAGIC
    if compressed:
        return ScanError("a whole file", "compressed data that is damaged or cut off", "Copy or export it again.")
    return ScanError(
        "a gzip-compressed file, as .nii.gz says",
        "a file that is not compressed",
        "Rename it to .nii, or export it again.",
    )


def _parse_header(content: bytes) -> nibabel.Nifti1Header:
    """The header as it stands in the file, in the file's byte order; nothing in it is checked."""
    for kind, size in ((nibabel.Nifti1Header, 348), (nibabel.Nifti2Header, 540)):
        for endianness, order in BYTE_ORDERS.items():
            if len(content) >= size and int.from_bytes(content[:4], order) == size:
                header = kind(content[:size], endianness, check=False)
                if bytes(header["magic"])[:3] in MAGICS:
                    return header
    raise _no_nifti(content)


def _no_nifti(content: bytes) -> ScanError:
    if content[:2] == GZIP_MAGIC:
        return ScanError("an uncompressed file, as .nii says", "gzip-compressed data", "Rename it to .nii.gz.")
    if any(int.from_bytes(content[:4], order) == 348 for order in BYTE_ORDERS.values()) and len(content) >= 348:
        found = "the header of Analyze, or of one half of a pair (.hdr, .img)"
    elif len(content) < 348:
        found = count_of(len(content), "byte")
    else:
        found = "a file that does not begin with a NIfTI header"
    return ScanError("a NIfTI file with header and voxels in one", found, "Export the scan again as single-file NIfTI.")


def _check_header(header: nibabel.Nifti1Header) -> NiftiHeader:
    dims = [int(n) for n in header["dim"]]
    shape = dims[1 : dims[0] + 1]
    if not 2 <= dims[0] <= 7 or min(shape) < 1:
        raise ScanError("a header with the sizes of two or more axes", f"dim = {dims}", "Export the scan again.")
    if 3000 <= int(header["intent_code"]) <= 3099:
        raise ScanError("a volume", "a CIFTI file of surfaces or connectivity", "Give the volume it was made from.")
    shape += [1] * (3 - len(shape))
    extra = [n for n in shape[3:] if n > 1]
    if len(extra) > 1:
        raise ScanError("a volume, or several on one grid (4D)", f"shape {tuple(shape)}", "Save one volume a file.")
    _check_type(header)
    return NiftiHeader(tuple(shape[:3]), extra[0] if extra else 1, _affine(header))


def _check_type(header: nibabel.Nifti1Header) -> None:
    code = int(header["datatype"])
    if code not in nibabel.nifti1.data_type_codes.dtype:
        raise ScanError("a number type that NIfTI defines", f"datatype {code}", "Export the scan again.")
    kind = header.get_data_dtype()
    if kind.fields:
        raise ScanError(
            "one intensity a voxel", "colours (RGB)", "Give the scan itself, not a picture or overlay of it."
        )
    if kind.kind == "c":
        raise ScanError("real intensities", "complex numbers", "Save the magnitude.")
    if kind.kind not in "iuf":
        raise ScanError("a number type for the voxels", f"datatype {code}, which is none", "Export the scan again.")


@np.errstate(all="ignore")  # what overflows is not finite, and refused as such
def _affine(header: nibabel.Nifti1Header) -> geometry.Affine:
    """The sform, or else the qform, in mm; refused where they would orient or scale the scan differently.

    Both map voxel indices to RAS mm, and which one a program believes differs. They may place the patient differently:
    the network sees directions and spacing alone, and a mask gets both forms of its scan.
    """
    (sform, _), (qform, _) = _forms(header)
    affine = sform if sform is not None else qform
    if affine is None:
        raise _no_geometry(header)
    _check_shear(affine)
    if sform is not None and qform is not None:
        _check_agreement(sform, qform)
    return affine if qform is not None else _with_pixdim(affine, header)


def _with_pixdim(sform: geometry.Affine, header: nibabel.Nifti1Header) -> geometry.Affine:
    """The sform, or where it is a matrix of units that nobody filled in, its directions with the spacing of pixdim.

    Some converters write directions alone (the ACDC data are such files): every viewer and every volume in ml would
    take steps of 5 to 10 mm between slices for steps of 1 mm.

    Raises:
        ScanError: the sform says 1 mm and where the scan lies, and pixdim another spacing.
    """
    unit_mm = _mm_per_unit(header)
    pixdim_mm = np.array(header["pixdim"][1:4], dtype=np.float64) * unit_mm
    says_nothing = not np.isfinite(pixdim_mm).all() or pixdim_mm.min() <= 0
    steps_of_units = np.allclose(geometry.voxel_spacing_mm(sform), unit_mm)
    if says_nothing or not steps_of_units or np.allclose(pixdim_mm, unit_mm, SPACING_TOLERANCE, 0):
        return sform
    if sform[:3, 3].any() or not np.isin(np.abs(sform[:3, :3]), (0.0, unit_mm)).all():
        spacing = " x ".join(f"{mm:.4g}" for mm in pixdim_mm)
        raise ScanError(
            "an sform and a pixdim that agree on the spacing",
            f"an sform of {unit_mm:g} mm along every axis, and a pixdim of {spacing} mm",
            "Find out which is right, and correct the other.",
        )
    return sform @ np.diag([*(pixdim_mm / unit_mm), 1.0])


def _check_shear(affine: geometry.Affine) -> None:
    cosine = geometry.shear_cosine(affine)
    if cosine > geometry.MAX_SHEAR_COSINE:
        angle = np.degrees(np.arccos(cosine))
        raise ScanError(
            "voxel axes at right angles",
            f"two axes at {angle:.1f} degrees (shear)",
            "Resample the scan to a square grid.",
        )


@np.errstate(all="ignore")
def _forms(header: nibabel.Nifti1Header) -> tuple[Form, Form]:
    """Sform and qform: the affine in mm, or None where it is not set or spans no volume, and the code of its space."""
    scale = _mm_per_unit(header)
    sform_code, qform_code = (
        code if code < 0 or code in nibabel.nifti1.xform_codes.code else ALIGNED
        for code in (int(header["sform_code"]), int(header["qform_code"]))
    )
    sform = _usable(header.get_sform(), sform_code, scale)
    qform = _usable(_qform(header), qform_code, scale)
    return (sform, sform_code), (qform, qform_code)


def _mm_per_unit(header: nibabel.Nifti1Header) -> float:
    code = int(header["xyzt_units"]) % 8  # the lower three bits; the others are the unit of time
    if code not in MM_PER_UNIT:
        raise ScanError("a unit of length that NIfTI defines", f"xyzt_units with code {code}", "Export the scan again.")
    return MM_PER_UNIT[code]


def _qform(header: nibabel.Nifti1Header) -> geometry.Affine:
    """The qform's affine, all NaN where the header's numbers make none."""
    standard = header.copy()
    standard["pixdim"][0] = _handedness(header)
    try:
        return standard.get_qform()
    except (HeaderDataError, ValueError):
        return np.full((4, 4), np.nan)


def _handedness(header: nibabel.Nifti1Header) -> int:
    """-1 or 1; a handedness of 0 counts as 1 (nifti1.h, method 2)."""
    return -1 if header["pixdim"][0] < 0 else 1


def _usable(affine: geometry.Affine, code: int, mm_per_unit: float) -> geometry.Affine | None:
    in_mm = np.diag([mm_per_unit, mm_per_unit, mm_per_unit, 1.0]) @ np.asarray(affine, dtype=np.float64)
    spacing_mm = np.array(geometry.voxel_spacing_mm(in_mm))
    if code <= 0 or not np.isfinite(in_mm).all() or not np.isfinite(spacing_mm).all() or spacing_mm.min() <= 0:
        return None
    return in_mm if abs(np.linalg.det(in_mm[:3, :3] / spacing_mm)) > COPLANAR else None


def _no_geometry(header: nibabel.Nifti1Header) -> ScanError:
    if max(int(header["qform_code"]), int(header["sform_code"])) <= 0:
        return ScanError(
            "a header that says how the voxels lie in the patient",
            "qform and sform codes of 0, so left and right are unknown",
            "Convert the original DICOM again, or set a form code after checking the orientation.",
        )
    spacing = ", ".join(f"{float(step):g}" for step in header["pixdim"][1:4])
    return ScanError(
        "a finite distance above zero between voxels along every axis",
        f"qform and sform that have none (pixdim {spacing})",
        "Correct the header from the original scan.",
    )


def _check_agreement(sform: geometry.Affine, qform: geometry.Affine) -> None:
    """Refuse forms of other directions or spacing; on either side of 45 degrees, a small angle swaps two axes."""
    spacings = np.array([geometry.voxel_spacing_mm(form) for form in (sform, qform)])
    angle = geometry.largest_angle(sform, qform)
    same_spacing = np.allclose(spacings[0], spacings[1], SPACING_TOLERANCE, 0)
    if angle <= ANGLE_TOLERANCE and same_spacing and geometry.to_ras(sform) == geometry.to_ras(qform):
        return
    described = [
        f"{geometry.orientation(form)} at {' x '.join(f'{mm:.4g}' for mm in spacing)} mm"
        for form, spacing in zip((sform, qform), spacings, strict=True)
    ]
    raise ScanError(
        "a qform and an sform that agree on orientation and spacing",
        f"sform {described[0]}, qform {described[1]}, axes up to {angle:.3g} degrees apart",
        "Find out which is right and copy it over the other (fslorient -copysform2qform, or -copyqform2sform).",
    )


def _voxels(content: bytes, header: nibabel.Nifti1Header, shape: tuple[int, ...]) -> NDArray:
    """The values, first axis fastest as NIfTI stores them, scaled where the header says so."""
    kind, offset = header.get_data_dtype(), float(header["vox_offset"])
    smallest = int(header["sizeof_hdr"])
    if not smallest <= offset <= MAX_OFFSET:
        raise ScanError(
            f"voxels that begin behind the header's {smallest} bytes",
            f"vox_offset = {offset:g}",
            "Export the scan again.",
        )
    count = math.prod(shape)
    found = max(len(content) - int(offset), 0)
    if found < count * kind.itemsize:
        raise ScanError(
            f"{count * kind.itemsize} bytes of voxels", f"{found}: the file is cut off", "Copy or export it again."
        )
    stored = np.frombuffer(content, kind, count, int(offset)).reshape(shape, order="F")
    return _scaled(stored.astype(kind.newbyteorder("="), copy=False), header)


def _scaled(stored: NDArray, header: nibabel.Nifti1Header) -> NDArray:
    """``stored * scl_slope + scl_inter``, unless the slope is 0, 1 with no intercept, or not finite (nifti1.h)."""
    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise ScanError("a finite scl_inter", f"{float(header['scl_inter'])}", "Export the scan again.") from error
    with np.errstate(all="ignore"):  # what overflows is infinite, and refused as such
        return apply_read_scaling(stored, slope, intercept)


def _whole(array: NDArray) -> NDArray:
    """The values as whole numbers.

    Raises:
        ScanError: one of them is none.
    """
    if array.dtype.kind != "f":
        return array
    whole = np.rint(array)
    if np.abs(array - whole).max() > WHOLE_TOLERANCE:
        raise ScanError(
            "whole label values", f"fractions such as {_fraction(array):.4g}", "Threshold or round the mask on purpose."
        )
    return whole


def _fraction(array: NDArray) -> float:
    return float(array.flat[int(np.abs(array - np.rint(array)).argmax())])


def _plain(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
