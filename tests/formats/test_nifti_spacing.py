"""An sform of units beside a pixdim that knows better."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import geometry
from pipeline.errors import ScanError
from pipeline.formats import nifti, registry
from tests.conftest import RealData

FLIPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def written(folder: Path, sform: NDArray, pixdim: tuple[float, ...], qform_code: int = 0) -> Path:
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), None)
    image.header.set_sform(sform, 2)
    image.header["pixdim"][1:4] = pixdim
    image.header["qform_code"] = qform_code
    image.to_filename(folder / "scan.nii")
    return folder / "scan.nii"


def test_a_matrix_of_units_gives_directions_and_pixdim_the_spacing(tmp_path: Path) -> None:
    path = written(tmp_path, FLIPS, (1.5, 1.5, 10.0))
    expected = np.diag([-1.5, -1.5, 10.0, 1.0])
    header, scan = nifti.read_header(path), nifti.read_scan(path)
    np.testing.assert_allclose(header.affine, expected)
    np.testing.assert_allclose(scan.affine, expected)
    assert header.repairs == scan.repairs == ("the spacing is that of pixdim, since the sform gives none",)
    nifti.write_mask(tmp_path / "mask.nii", np.ones(scan.shape, np.uint8), scan)
    assert geometry.grid_difference(registry.read_mask(tmp_path / "mask.nii"), scan) is None


@pytest.mark.parametrize("pixdim", [(1.0, 1.0, 1.0), (0.0, 1.0, 1.0), (np.nan, 1.0, 1.0)])
def test_a_pixdim_that_says_nothing_else_changes_nothing(tmp_path: Path, pixdim: tuple[float, ...]) -> None:
    header = nifti.read_header(written(tmp_path, FLIPS, pixdim))
    np.testing.assert_allclose(header.affine, FLIPS)
    assert header.repairs == ()


def test_an_sform_with_a_spacing_of_its_own_counts_whatever_pixdim_says(tmp_path: Path) -> None:
    sform = np.diag([2.0, 2.0, 3.0, 1.0])
    np.testing.assert_allclose(nifti.read_header(written(tmp_path, sform, (1.0, 1.0, 1.0))).affine, sform)


def test_an_sform_of_1_mm_that_places_the_scan_beside_another_pixdim_is_refused(tmp_path: Path) -> None:
    sform = FLIPS.copy()
    sform[:3, 3] = (90, 120, -70)
    with pytest.raises(ScanError, match=r"an sform of 1 mm along .*, and a pixdim of 1\.5 x 1\.5 x 10 mm"):
        nifti.read_header(written(tmp_path, sform, (1.5, 1.5, 10.0)))


def test_the_slices_of_acdc_lie_5_to_10_mm_apart(real_data: RealData) -> None:
    for path in sorted(real_data("acdc").glob("images/*.nii.gz")):
        *in_plane, across = geometry.voxel_spacing_mm(nifti.read_header(path).affine)
        assert 0.6 < min(in_plane) <= max(in_plane) < 2
        assert 5 <= across <= 10
