"""NIfTI files, version 1 and 2, through nibabel: single (.nii, .nii.gz), or a header with its voxels (.hdr, .img).

nibabel's arrays are indexed I, J, K and its affines map to RAS mm, which are this project's conventions as well; only
the channel axis is added here. A file whose geometry or values would have to be guessed is refused.
"""

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
from pipeline.formats.axes import check_axes
from pipeline.formats.content import beside, read_plain
from pipeline.formats.format import Format, Mask, without_names
from pipeline.formats.voxels import unpack
from pipeline.scan import Scan, ScanHeader
from pipeline.wording import count_of

NAME = "NIfTI"
PAIR_HEADERS = (".hdr", ".hdr.gz")
PAIR_VOXELS = (".img", ".img.gz")
HEADER_BYTES = 544  # NIfTI-2's 540 and the four bytes that announce extensions
SINGLE_MAGICS = (b"n+1", b"n+2")
PAIR_MAGICS = (b"ni1", b"ni2")
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
MAX_QFORM_ERROR = 0.1
"""Degrees that an axis of a qform may lie apart from the affine that it was made of."""
COPLANAR = 1e-3
"""Volume spanned by the three axis directions (1 where they are square) below which they lie in a plane."""
LARGEST_NIFTI1_AXIS = 2**15 - 1


Form = tuple[geometry.Affine | None, int]


def recognises(head: bytes) -> bool:
    """Whether a file, unpacked, begins with a NIfTI header."""
    return _header_in(head) is not None


def read_header(path: Path) -> ScanHeader:
    """Shape and affine of a volume, without its voxels.

    Raises:
        ScanError: the file is missing, no NIfTI, no real-valued volume, or its geometry is ambiguous.
    """
    header = _parse_header(read_plain(path, HEADER_BYTES))
    _voxel_file(path, header)
    return _check_header(header)


def read_scan(path: Path) -> Scan:
    """Read a volume (C, I, J, K); the fourth axis of a 4D file becomes the channels.

    Raises:
        ScanError: as `read_header`, and where the file is damaged or cut off.
    """
    content = read_plain(path)
    raw = _parse_header(content)
    voxels = _voxel_file(path, raw)
    header = _check_header(raw)
    array = _voxels(content if voxels == path else read_plain(voxels), raw, (*header.shape, header.channels))
    values, grid = np.moveaxis(array, -1, 0), _grid_header(raw).binaryblock
    return Scan(values, header.affine, path, format=NAME, header=grid, repairs=header.repairs)


def files(path: Path) -> tuple[Path, ...]:
    """The file, or a header and its voxels.

    Raises:
        ScanError: the file is no NIfTI, or its voxels are missing.
    """
    voxels = _voxel_file(path, _parse_header(read_plain(path, HEADER_BYTES)))
    return (path,) if voxels == path else (path, voxels)


def write_mask(target: Path, mask: Mask, scan: Scan) -> None:
    """Write a mask (I, J, K) on the scan's own grid, whole or not at all.

    A mask of a NIfTI scan gets that file's own qform and sform, so that every viewer lays it over the scan, whichever
    form it prefers. Free text of the scan's header (it can name the patient) and its extensions are left behind.
    """
    write_array(target, mask, scan)


def write_array(target: Path, values: NDArray, scan: Scan, *, description: str = "") -> None:
    """As `write_mask`, numbers of any type (I, J, K); the header keeps 79 letters of a description."""
    assert values.shape == scan.shape, (values.shape, scan.shape)
    header = _parse_header(scan.header) if scan.format == NAME else _new_header(scan)
    header.set_data_shape(scan.shape)
    header.set_data_dtype(values.dtype)
    header["descrip"] = description.encode("ascii", "replace")[:79]
    image = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
    with atomic_path(target) as path:
        image(values, None, header).to_filename(path)


def _new_header(scan: Scan) -> nibabel.Nifti1Header:
    header = nibabel.Nifti2Header() if max(scan.shape) > LARGEST_NIFTI1_AXIS else nibabel.Nifti1Header()
    header.set_sform(scan.affine, code="scanner")
    header.set_qform(scan.affine, code="scanner")
    if geometry.largest_angle(header.get_qform(), scan.affine) > MAX_QFORM_ERROR:  # it holds no shear, however small
        header["qform_code"] = 0
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


def _parse_header(content: bytes) -> nibabel.Nifti1Header:
    """The header as it stands in the file, in the file's byte order; nothing in it is checked."""
    header = _header_in(content)
    if header is None:
        raise _no_nifti(content)
    return header


def _header_in(content: bytes) -> nibabel.Nifti1Header | None:
    for kind, size in ((nibabel.Nifti1Header, 348), (nibabel.Nifti2Header, 540)):
        for endianness, order in BYTE_ORDERS.items():
            if len(content) >= size and int.from_bytes(content[:4], order) == size:
                header = kind(content[:size], endianness, check=False)
                if bytes(header["magic"])[:3] in (*SINGLE_MAGICS, *PAIR_MAGICS):
                    return header
    return None


def _no_nifti(content: bytes) -> ScanError:
    if any(int.from_bytes(content[:4], order) == 348 for order in BYTE_ORDERS.values()) and len(content) >= 348:
        found = "the header of Analyze 7.5, which does not tell left from right"
    elif len(content) < 348:
        found = count_of(len(content), "byte")
    else:
        found = "a file that does not begin with a NIfTI header"
    return ScanError("a NIfTI file", found, "Export the scan again as NIfTI (.nii.gz).")


def _voxel_file(path: Path, header: nibabel.Nifti1Header) -> Path:
    """Where the voxels lie: behind the header, or in a file beside it."""
    if bytes(header["magic"])[:3] in SINGLE_MAGICS:
        return path
    ending = next((ending for ending in PAIR_HEADERS if path.name.lower().endswith(ending)), path.suffix)
    voxels = beside(path, ending, PAIR_VOXELS)
    if voxels is None:
        raise ScanError(
            "a NIfTI header beside its voxels (.hdr and .img, of one name)",
            f"{path.name} alone",
            "Copy the other file too, or export the scan again as a single file (.nii.gz).",
        )
    return voxels


def _check_header(header: nibabel.Nifti1Header) -> ScanHeader:
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
    affine = _affine(header)
    return ScanHeader(tuple(shape[:3]), extra[0] if extra else 1, affine, repairs=_repairs(header, affine))


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
    check_axes(affine)
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


def _repairs(header: nibabel.Nifti1Header, affine: geometry.Affine) -> tuple[str, ...]:
    """What `_affine` mended, and which form it passed over that is set and means nothing."""
    (sform, sform_code), (qform, qform_code) = _forms(header)
    if sform is None:
        return ("the geometry is that of the qform, since the sform spans no volume",) if sform_code > 0 else ()
    if not np.array_equal(sform, affine):
        return ("the spacing is that of pixdim, since the sform gives none",)
    if qform is None and qform_code > 0:
        return ("the geometry is that of the sform, since the qform spans no volume",)
    return ()


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
    offset = float(header["vox_offset"])
    smallest = int(header["sizeof_hdr"]) if bytes(header["magic"])[:3] in SINGLE_MAGICS else 0
    if not smallest <= offset <= MAX_OFFSET:
        raise ScanError(
            f"voxels that begin behind the header's {smallest} bytes",
            f"vox_offset = {offset:g}",
            "Export the scan again.",
        )
    return _scaled(unpack(content, header.get_data_dtype(), shape, offset=int(offset)), header)


def _scaled(stored: NDArray, header: nibabel.Nifti1Header) -> NDArray:
    """``stored * scl_slope + scl_inter``, unless the slope is 0, 1 with no intercept, or not finite (nifti1.h)."""
    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise ScanError("a finite scl_inter", f"{float(header['scl_inter'])}", "Export the scan again.") from error
    with np.errstate(all="ignore"):  # what overflows is infinite, and refused as such
        return apply_read_scaling(stored, slope, intercept)


FORMAT = Format(
    name=NAME,
    endings=(".nii", ".nii.gz", *PAIR_HEADERS, *PAIR_VOXELS),
    recognises=recognises,
    read_header=read_header,
    read_scan=read_scan,
    mask_endings=(".nii.gz", ".nii"),
    write_mask=without_names(write_mask),
    compressed=True,
    unmistakable=True,
    companions=PAIR_VOXELS,
    headers=PAIR_HEADERS,
    files=files,
)
