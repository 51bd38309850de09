"""FreeSurfer's volumes (.mgh, .mgz) through nibabel, whose affines of them map to RAS mm."""

from pathlib import Path

import nibabel
import numpy as np
from nibabel.freesurfer.mghformat import DATA_OFFSET, MGHHeader, data_type_codes, header_dtype

from pipeline import geometry
from pipeline.errors import ScanError
from pipeline.files import atomic_path
from pipeline.formats.content import damaged, read_plain
from pipeline.formats.format import Format, Mask, without_names
from pipeline.formats.voxels import unpack
from pipeline.scan import Scan, ScanHeader

NAME = "FreeSurfer"
GEOMETRY_FIELDS = ("goodRASFlag", "delta", "Mdc", "Pxyz_c")
MAX_AXIS = 2**20
"""Longer axes are taken as a sign that a file is none of these."""


def recognises(head: bytes) -> bool:
    """Whether a file, unpacked, begins with plausible numbers; the format has no magic word."""
    if len(head) < header_dtype.itemsize:
        return False
    raw = np.frombuffer(head, header_dtype, 1)[0]
    known = raw["version"] == 1 and int(raw["type"]) in data_type_codes.code
    return bool(known and raw["dims"].min() > 0 and raw["dims"].max() < MAX_AXIS)


def read_header(path: Path) -> ScanHeader:
    """The grid, without the voxels.

    Raises:
        ScanError: the file is missing, none of FreeSurfer's volumes, or does not tell how it lies in the patient.
    """
    raw = _parse(read_plain(path, DATA_OFFSET))
    *shape, frames = (int(size) for size in raw["dims"])
    return ScanHeader(tuple(shape), frames, _affine(raw))


def read_scan(path: Path) -> Scan:
    """Read a volume (C, I, J, K); its frames become the channels.

    Raises:
        ScanError: as `read_header`, and where the file is damaged or cut off.
    """
    content = read_plain(path)
    raw = _parse(content)
    kind = MGHHeader(raw.tobytes(), check=False).get_data_dtype()
    array = unpack(content, kind, tuple(int(size) for size in raw["dims"]), offset=DATA_OFFSET)
    return Scan(np.moveaxis(array, -1, 0), _affine(raw), path, format=NAME, header=_grid_header(raw))


def write_mask(target: Path, mask: Mask, scan: Scan) -> None:
    """Write a mask (I, J, K) on a scan's own grid, whole or not at all."""
    assert mask.shape == scan.shape, (mask.shape, scan.shape)
    image = nibabel.MGHImage(mask, scan.affine)
    if scan.format == NAME:  # its own numbers, of 32 bits, instead of those that follow from the affine
        own = np.frombuffer(scan.header, header_dtype, 1)[0]
        for name in GEOMETRY_FIELDS:
            image.header[name] = own[name]
        image = nibabel.MGHImage(mask, image.header.get_affine(), image.header)
    with atomic_path(target) as path:
        image.to_filename(path)


def _parse(content: bytes) -> np.void:
    """The fields of the header as they stand in the file."""
    if len(content) < header_dtype.itemsize:
        raise damaged("a whole FreeSurfer volume (.mgh, .mgz)", f"{len(content)} bytes")
    if not recognises(content):
        raise ScanError("a FreeSurfer volume (.mgh, .mgz)", "a file that begins with other numbers", "Export it again.")
    raw = np.frombuffer(content, header_dtype, 1)[0]
    if raw["goodRASFlag"] != 1:
        raise ScanError(
            "a header that says how the voxels lie in the patient",
            f"goodRASFlag {raw['goodRASFlag']}, so left and right are unknown",
            "Convert the original again (mri_convert).",
        )
    return raw


def _affine(raw: np.void) -> geometry.Affine:
    """Voxel index -> RAS mm, in 64 bits, from directions, spacing and the position of the centre.

    As nibabel's `MGHHeader.get_affine`, which counts in 32.
    """
    columns = raw["Mdc"].astype(np.float64).T * raw["delta"].astype(np.float64)
    affine = np.eye(4)
    affine[:3, :3] = columns
    affine[:3, 3] = raw["Pxyz_c"].astype(np.float64) - columns @ (raw["dims"][:3] / 2.0)
    return affine


def _grid_header(raw: np.void) -> bytes:
    """The numbers of a header that say where voxels lie, and nothing else of it."""
    header = np.zeros((), header_dtype)
    for name in GEOMETRY_FIELDS:
        header[name] = raw[name]
    return header.tobytes()


FORMAT = Format(
    name=NAME,
    endings=(".mgz", ".mgh", ".mgh.gz"),
    recognises=recognises,
    read_header=read_header,
    read_scan=read_scan,
    mask_endings=(".mgz", ".mgh"),
    write_mask=without_names(write_mask),
    compressed=True,
)
