"""Every file of the folders of odd files: read as a second reader reads it, or refused with the reason.

The second reader shares no code with ours; see `references`. A file that is not in the tables fails the tests.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import geometry
from pipeline.errors import ScanError
from pipeline.formats import registry
from pipeline.scan import Scan
from tests.conftest import RealData
from tests.formats import references
from tests.formats.references import ReadReference


@dataclass(frozen=True)
class Read:
    """What a file holds.

    Attributes:
        by: the second reader.
        shape: (C, I, J, K).
        spacing: along I, J, K, in mm; None for a picture.
        mask: ending of its mask.
        own_order: whether the second reader has the axes in the order of the file; else both are compared in RAS order.
    """

    by: ReadReference
    shape: tuple[int, ...]
    spacing: tuple[float, float, float] | None = None
    mask: str = ".nii.gz"
    own_order: bool = True


def nifti(shape: tuple[int, ...], *spacing: float, mask: str = ".nii.gz") -> Read:
    """A NIfTI file, read by nibabel; three spacings, or one for all axes."""
    each = spacing if len(spacing) == 3 else spacing * 3
    return Read(references.by_nibabel, shape, (each[0], each[1], each[2]), mask)


def minc2(shape: tuple[int, ...], spacing: float) -> Read:
    """MINC in HDF5, read by SimpleITK."""
    return Read(references.by_simpleitk_minc, shape, (spacing,) * 3, own_order=False)


def picture(channels: int, columns: int, rows: int, mask: str = ".png") -> Read:
    """A picture, read by OpenCV."""
    return Read(references.by_opencv, (channels, columns, rows, 1), mask=mask)


NO_SCAN = "found another file"
CORD = (1, 131, 141, 16)
CORD_MM = (1.0, 1.0, 1.0)
LESION_MM = (1.0, 1.00281, 1.00281)
EXAMPLE_AFNI = Read(references.by_afni_attributes, (3, 33, 41, 25), (3.0, 3.0, 3.0))
SMALL_ODD: dict[str, Read | str] = {
    **{f"cxr_lung4/{n}.jpg": picture(1, 512, 512) for n in range(1, 5)},
    **{f"cxr_lung4/{n}-mask.png": picture(1, 512, 512) for n in range(1, 5)},
    **{
        f"kvasir5_native_res/{part}/{name}.jpg": picture(3, *size)
        for part in ("images", "masks")
        for name, size in {
            "cju0qkwl35piu0993l0dewei2": (622, 529),
            "cju0qoxqj9q6s0835b43399p4": (1348, 1070),
            "cju0qx73cjw570799j4n5cjze": (619, 529),
            "cju0roawvklrq0799vmjorwfv": (622, 528),
            "cju0rx1idathl0835detmsp84": (617, 528),
        }.items()
    },
    **{
        f"png_tif_8_16bit_gray_rgb_rgba/{name}": NO_SCAN
        for name in (
            *("dataset_description.json", "participants.tsv", "samples.tsv"),
            *("sub-png/micr/sub-png_SEM.json", "sub-tif/micr/sub-tif_SEM.json"),
        )
    },
    **{
        f"png_tif_8_16bit_gray_rgb_rgba/sub-png/micr/sub-png_sample-{sample}_SEM.png": expected
        for sample, expected in {
            "16gray": picture(1, 256, 256),
            "16rgb": picture(3, 256, 256),
            "16rgba": picture(3, 256, 256),
            "8gray": picture(1, 278, 266),
            "8grayalhpa": picture(1, 278, 266),
            "8grayalpha": picture(3, 278, 266),
            "8rgb": picture(3, 256, 256),
            "8rgba": picture(3, 256, 256),
        }.items()
    },
    **{
        f"png_tif_8_16bit_gray_rgb_rgba/sub-tif/micr/sub-tif_sample-{sample}_SEM.tif": picture(
            channels, 256, 256, ".tif"
        )  # each with a thumbnail as its second page
        for sample, channels in {"16gray": 1, "16rgb": 3, "16rgba": 3, "8gray": 1, "8rgb": 3, "8rgba": 3}.items()
    },
    **{
        f"sem_axon_myelin/{name}": NO_SCAN
        for name in (
            *("dataset_description.json", "df_ref.csv", "participants.tsv", "samples.tsv"),
            *("sub-rat2/micr/sub-rat2_sample-data5_SEM.json", "sub-rat3/sub-rat3_sessions.tsv"),
            *("sub-rat3/ses-01/micr/README", "sub-rat3/ses-01/micr/sub-rat3_ses-01_sample-data9_SEM.json"),
            *(
                "sub-rat3/ses-02/sub-rat3_ses-02_scans.tsv",
                "sub-rat3/ses-02/micr/sub-rat3_ses-02_sample-data10_SEM.json",
            ),
            "sub-rat3/ses-02/micr/sub-rat3_ses-02_sample-data11_SEM.json",
        )
    },
    **{
        f"sem_axon_myelin/{folder}{name}{ending}": picture(1, *size)
        for name, size in {
            "sub-rat2/micr/sub-rat2_sample-data5_SEM": (725, 725),
            "sub-rat3/ses-01/micr/sub-rat3_ses-01_sample-data9_SEM": (764, 756),
            "sub-rat3/ses-02/micr/sub-rat3_ses-02_sample-data10_SEM": (737, 758),
            "sub-rat3/ses-02/micr/sub-rat3_ses-02_sample-data11_run-1_SEM": (769, 839),
            "sub-rat3/ses-02/micr/sub-rat3_ses-02_sample-data11_run-2_SEM": (769, 839),
        }.items()
        for folder, ending in (
            ("", ".png"),
            ("derivatives/labels/", "_seg-axon-manual.png"),
            ("derivatives/labels/", "_seg-myelin-manual.png"),
        )
    },
    **{
        f"spinal_cord_mr/sub-{sub}/anat/sub-{sub}_{contrast}.json": NO_SCAN
        for sub in ("unf01", "unf02", "unf03")
        for contrast in ("T1w", "T2star", "T2w")
    },
    "spinal_cord_mr/derivatives/labels/sub-unf01/anat/sub-unf01_T2w_labels-disc-manual.json": NO_SCAN,
    **{
        f"spinal_cord_mr/sub-unf01/anat/sub-unf01_{contrast}.nii.gz": nifti(CORD, *CORD_MM)
        for contrast in ("T1w", "T2star", "T2w")
    },
    **{
        f"spinal_cord_mr/derivatives/labels/sub-unf01/anat/sub-unf01_{name}.nii.gz": nifti(CORD, *spacing)
        for name, spacing in {
            "T1w_lesion-manual": LESION_MM,
            "T1w_seg-manual": CORD_MM,
            "T2star_lesion-manual": LESION_MM,
            "T2star_seg-manual": CORD_MM,
            "T2w_labels-disc-manual": CORD_MM,
            "T2w_lesion-manual": LESION_MM,
            "T2w_seg-manual": CORD_MM,
        }.items()
    },
    **{
        f"spinal_cord_mr/{folder}sub-{sub}/anat/sub-{sub}_{contrast}{ending}.nii.gz": expected
        for sub in ("unf02", "unf03")
        for contrast, expected in {
            "T1w": nifti((1, 19, 26, 32), 10.1053, 10, 10),
            "T2w": nifti((1, 6, 32, 32), 8.53333, 8, 8),
        }.items()
        for folder, ending in (("", ""), ("derivatives/labels/", "_labels-disc-manual"))
    },
    **{
        f"spinal_cord_mr/sub-{sub}/anat/sub-{sub}_T2star.nii.gz": nifti((1, 45, 45, 2), 4.97778, 4.97778, 37.5)
        for sub in ("unf02", "unf03")
    },
    **{f"spleen_ct_crop/{name}": NO_SCAN for name in ("dataset_description.json", "df_ref.csv", "participants.tsv")},
    **{
        f"spleen_ct_crop/{name}": nifti((1, 164, 166, 26), 0.794922, 0.794922, 5)
        for name in (
            "sub-spleen2/ct/sub-spleen2_ct.nii.gz",
            "derivatives/labels/sub-spleen2/ct/sub-spleen2_ct_seg-manual.nii.gz",
        )
    },
    "torchio/LICENSE": NO_SCAN,
    "torchio/README.md": NO_SCAN,
    "torchio/data/dmri/dmri_oeslle.nii.gz": nifti((4, 33, 33, 19), 8),
    "torchio/data/fernando/t1_seg_gif.nii.gz": nifti((1, 256, 256, 176), 1),
    "torchio/data/fernando/t2.nii.gz": nifti((1, 320, 320, 26), 0.75, 0.75, 5.5),
    "torchio/data/slice_tiff/Synthesized_FLASH25_Sagittal_1043.tiff": picture(1, 1760, 1280, ".tif"),
}
NO_VOLUME = "Expected a volume; found a CIFTI file"
NO_STEP = "a step for each axis of the MINC file; found none for zspace"
NIFTI_HOSTILE: dict[str, Read | str] = {
    "formats/FLAIR.nrrd": Read(references.by_simpleitk, (1, 124, 160, 140), (1, 1, 1), ".nrrd"),
    "formats/afni/DT_V1+orig.BRIK.gz": "formats/afni/DT_V1+orig.HEAD",
    "formats/afni/DT_V1+orig.HEAD": Read(references.by_afni_attributes, (3, 128, 128, 70), (2, 2, 2)),
    "formats/example4d+orig.BRIK.gz": "formats/example4d+orig.HEAD",
    "formats/example4d+orig.HEAD": EXAMPLE_AFNI,
    "formats/mask_1bit.mif": r"found MRtrix\. Convert it to NIfTI \(mrconvert\)",
    "formats/mha.mha": Read(references.by_simpleitk, (1, 64, 64, 37), (3.4375, 3.4375, 3.8), ".mha"),
    "formats/norm.mgz": Read(references.by_mgh_specification, (1, 256, 256, 256), (1, 1, 1), ".mgz"),
    "nibabel/bad_datatype+orig.HEAD": r"found bad_datatype\+orig\.HEAD alone",
    "nibabel/example4d+orig.BRIK.gz": "nibabel/example4d+orig.HEAD",
    "nibabel/example4d+orig.HEAD": EXAMPLE_AFNI,
    "nibabel/example4d.nii.gz": nifti((2, 128, 96, 24), 2, 2, 2.2),
    "nibabel/example_nifti2.nii.gz": nifti((2, 32, 20, 12), 2, 2, 2.2),
    "nibabel/minc1-no-att.mnc": NO_STEP,
    "nibabel/minc1_1_scale.mnc": Read(references.by_scipy, (1, 10, 20, 20), (2, 2, 2)),
    "nibabel/minc1_4d.mnc": Read(references.by_scipy, (2, 10, 20, 20), (2, 2, 2)),
    "nibabel/minc2-4d-d.mnc": Read(references.by_simpleitk_minc, (5, 16, 16, 16), (1, 1, 1), own_order=False),
    "nibabel/minc2-no-att.mnc": NO_STEP,
    "nibabel/minc2_1_scale.mnc": Read(references.by_simpleitk_minc, (1, 10, 20, 20), (2, 2, 2), own_order=False),
    "nibabel/minc2_4d.mnc": Read(references.by_simpleitk_minc, (2, 10, 20, 20), (2, 2, 2), own_order=False),
    "nibabel/nifti2.hdr": r"a NIfTI header beside its voxels .*; found nifti2\.hdr alone",
    "nibabel/reoriented_anat_moved.nii": nifti((1, 21, 26, 22), 4, mask=".nii"),
    "nibabel/resampled_anat_moved.nii": "Expected finite values; found NaN or infinity in 153 voxels",
    "nibabel/row_major.dconn.nii": NO_VOLUME,
    "nibabel/standard.nii.gz": nifti((1, 4, 5, 7), 1, 3, 2),
    "odd/Conte69.MyelinAndCorrThickness.32k_fs_LR.dtseries.nii": NO_VOLUME,
    "odd/FA.nii.gz": nifti((1, 84, 92, 56), 2.2),
    "odd/LAS_drawing_correct.nii.gz": nifti((1, 64, 79, 67), 2.38523, 2.38975, 2.36649),
    "odd/complex.nii.gz": "Expected real intensities; found complex numbers",
    "odd/ct_perfusion.nii.gz": r"Expected one intensity a voxel; found colours \(RGB\)",
    "odd/draw.nii.gz": nifti((1, 79, 67, 64), 2.38975, 2.36649, 2.38523),
    "odd/labels256.nii.gz": nifti((1, 256, 256, 256), 1),
    "odd/mpld_asl.nii.gz": nifti((25, 64, 64, 24), 3.4375, 3.4375, 4.95),
    "odd/pcasl.nii.gz": nifti((10, 52, 68, 20), 3, 3, 6),
    "odd/shear.nii.gz": r"found two axes at 71\.5 degrees \(shear\)",
    "odd/torsoLabel.nii.gz": nifti((1, 384, 320, 89), 0.782, 0.782, 5),
    "ood_anatomy/CT_AVM.nii.gz": nifti((1, 256, 242, 154), 0.719943, 0.720914, 1),
    "ood_anatomy/CT_pitch.nii.gz": nifti((1, 175, 248, 58), 0.8125, 0.8125, 2.39705),
    "ood_anatomy/FLAIR.nii.gz": nifti((1, 124, 160, 140), 1),
    "ood_anatomy/FLAIR_lesion_labels.nii.gz": nifti((1, 124, 160, 140), 1),
    "ood_anatomy/MR_Gd.nii.gz": nifti((1, 176, 188, 144), 0.976562, 0.976562, 1.0026),
    "ood_anatomy/chris_MRA.nii.gz": nifti((1, 200, 256, 120), 0.520833, 0.520834, 0.65),
    "ood_anatomy/chris_PD.nii.gz": nifti((1, 191, 256, 54), 0.857875, 0.859375, 2.4),
    "ood_anatomy/fmri_pitch.nii.gz": nifti((1, 64, 64, 35), 3.25, 3.25, 3.6),
    "ood_anatomy/inia19-t1-brain.nii.gz": nifti((1, 168, 206, 128), 0.5),
}
"""What becomes of each file: what is read; or why nothing is; or, of a second file, the first, which is read for it."""
FOLDERS = {"hostile/small_odd": SMALL_ODD, "hostile/nifti_hostile": NIFTI_HOSTILE}
CASES = [(folder, name) for folder, table in FOLDERS.items() for name in table]


def expectation(folder: str, name: str) -> tuple[str, Read | str]:
    """The first file of a scan, and what is expected of it."""
    table = FOLDERS[folder]
    expected = table[name]
    return (expected, table[expected]) if isinstance(expected, str) and expected in table else (name, expected)


@pytest.mark.parametrize(("folder", "table"), FOLDERS.items(), ids=FOLDERS.keys())
def test_the_table_has_every_file(real_data: RealData, folder: str, table: dict[str, Read | str]) -> None:
    root = real_data(folder)
    files = {path.relative_to(root) for path in root.rglob("*") if path.is_file()}
    assert {str(path) for path in files if path.parts[0] != "orientations48"} == table.keys()


@pytest.mark.parametrize(("folder", "name"), CASES, ids=[name for _, name in CASES])
def test_a_file_is_read_as_a_second_reader_reads_it_or_refused(
    real_data: RealData, tmp_path: Path, folder: str, name: str
) -> None:
    path = real_data(folder) / name
    first, expected = expectation(folder, name)
    if isinstance(expected, str):
        with pytest.raises(ScanError, match=expected):
            registry.read_scan(path)
        return
    scan = registry.read_scan(path)
    check_scan(scan, path, expected, expected.by(real_data(folder) / first))
    check_mask(scan, expected, tmp_path)


def check_scan(scan: Scan, path: Path, expected: Read, reference: references.Reference) -> None:
    """Values, shape, spacing and place are those of the second reader; the header says the same as the whole file."""
    values, affine = reference
    assert scan.array.shape == expected.shape
    assert scan.unit == ("px" if expected.spacing is None else "mm")
    if affine is None:
        values = opaque(values, expected.shape[0])
        affine = np.diag([-1.0, -1, 1, 1])
    own = scan.array, scan.affine
    if not expected.own_order:
        own, (values, affine) = references.upright(*own), references.upright(values, affine)
    np.testing.assert_allclose(own[0], values, rtol=1e-6, atol=1e-7 * float(np.abs(values).max()))
    if scan.array.dtype.kind in "iu":
        np.testing.assert_array_equal(own[0], values)
    np.testing.assert_allclose(own[1], affine, atol=1e-4)
    np.testing.assert_allclose(scan.spacing_mm, expected.spacing or (1, 1, 1), rtol=1e-4)
    header = registry.read_header(path)
    assert (header.channels, *header.shape, header.unit) == (*scan.array.shape, scan.unit)
    np.testing.assert_array_equal(header.affine, scan.affine)


def opaque(values: NDArray, channels: int) -> NDArray:
    """Without the last channel where there is one more than expected, all of which is opaque."""
    if len(values) == channels:
        return values
    assert len(values) == channels + 1 or values.shape[0] == 4
    assert (values[-1] == np.iinfo(values.dtype).max).all()
    return values[:channels]


SECOND_READERS: dict[str, ReadReference] = {
    ".nii": references.by_nibabel,
    ".nii.gz": references.by_nibabel,
    ".nrrd": references.by_simpleitk,
    ".mha": references.by_simpleitk,
    ".mgz": references.by_mgh_specification,
    ".png": references.by_opencv,
    ".tif": references.by_opencv,
}


def check_mask(scan: Scan, expected: Read, folder: Path) -> None:
    """A mask in the scan's format, or in the one that stands for it, reads back the same here and elsewhere."""
    assert registry.mask_ending(scan) == expected.mask
    target = folder / f"mask{expected.mask}"
    mask = (np.indices(scan.shape).sum(0) % 5).astype(np.uint8)
    registry.write_mask(target, mask, scan, labels={"liver": 1, "spleen": 4})
    own = registry.read_mask(target)
    np.testing.assert_array_equal(own.array[0], mask)
    np.testing.assert_allclose(own.affine, scan.affine, atol=1e-5)
    assert geometry.grid_difference(own, scan) is None
    assert own.unit == scan.unit
    values, affine = SECOND_READERS[expected.mask](target)
    np.testing.assert_array_equal(values[0], mask)
    if affine is not None:
        np.testing.assert_allclose(affine, scan.affine, atol=1e-4)
