from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence as Items
from pydicom.uid import DeflatedExplicitVRLittleEndian

from pipeline.errors import ScanError
from pipeline.formats.dicom.frames import read_frames
from pipeline.formats.dicom.pixels import read_values
from pipeline.formats.dicom.volumes import find_volumes
from pipeline.formats.itk import LPS_TO_RAS
from tests.conftest import RealData
from tests.formats.dicom_files import write_enhanced, write_slice

PIXELS = np.arange(12, dtype=np.int16).reshape(3, 4)
LOSSY = {"J2KI": 400.0, "JPLY": 240.0, "JLSN": 40.0}
"""Largest difference that these codecs of the reference images make, in values; their ranges are 1500 to 20,000."""
CLASSES = ("J2KR", "JLSL", "JPLL", "RLE", "UNC", *LOSSY)


def values(path: Path) -> NDArray:
    return read_values(read_frames(path))


def test_values_are_columns_rows_and_slices(tmp_path: Path) -> None:
    files = [write_slice(tmp_path / f"{z}", PIXELS + np.int16(100 * z), (0, 0, z)) for z in (0, 1)]
    found = read_values([frame for path in files for frame in read_frames(path)])
    assert found.shape == (4, 3, 2)
    assert found[2, 1].tolist() == [6, 106]


@pytest.mark.parametrize(
    ("slope", "intercept", "kind", "expected"),
    [(1, -1024, np.int16, -1013), (2, 0, np.uint8, 22), (0.5, 1, np.float32, 6.5), (-1, 0, np.int16, -11)],
)
def test_values_are_brought_to_the_scale_of_the_file(
    tmp_path: Path, slope: float, intercept: float, kind: type, expected: float
) -> None:
    found = values(write_slice(tmp_path / "a", PIXELS, (0, 0, 0), RescaleSlope=slope, RescaleIntercept=intercept))
    assert (found.dtype, found[3, 2, 0]) == (np.dtype(kind), expected)


def test_a_deflated_file_is_read(tmp_path: Path) -> None:
    dataset = dcmread(write_slice(tmp_path / "a", PIXELS, (0, 0, 0)))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "deflated")
    assert np.array_equal(values(tmp_path / "deflated")[..., 0], PIXELS.T)


def test_frames_may_have_scales_of_their_own(tmp_path: Path) -> None:
    found = values(write_enhanced(tmp_path / "a", np.stack([PIXELS] * 2), [(0, 0, 0), (0, 0, 1)]))
    assert found[3, 2].tolist() == [11 * 1 - 1, 11 * 2 - 1]


@pytest.mark.parametrize(("modality", "expected"), [("CR", 4095 - 11), ("CT", 11)])
def test_where_0_is_white_values_are_turned_round_unless_they_are_physical(
    tmp_path: Path, modality: str, expected: int
) -> None:
    how = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11, "Modality": modality}
    assert values(write_slice(tmp_path / "a", PIXELS.astype(np.uint16), (0, 0, 0), **how))[3, 2, 0] == expected


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, r"grey values; found other colours \(PALETTE COLOR\)"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "a slope that is not 0; found slope 0"),
        ({"PixelData": bytes(20)}, "a whole DICOM file; found one that is damaged or cut off"),
        ({"Rows": 60000, "Columns": 60000}, "slices of at most .* found 60000 x 60000 x 1"),
        ({"Rows": 6000, "Columns": 6000}, "damaged or cut off"),
    ],
)
def test_values_that_would_have_to_be_guessed_are_refused(
    tmp_path: Path, elements: dict[str, object], message: str
) -> None:
    with pytest.raises(ScanError, match=message):
        values(write_slice(tmp_path / "a", PIXELS, (0, 0, 0), **elements))


def test_a_manufacturers_own_sequence_says_nothing_of_the_scale(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "a", np.stack([PIXELS] * 2), [(0, 0, 0), (0, 0, 1)])
    dataset, item = dcmread(path), Dataset()
    item.RescaleSlope = 1000
    for own in dataset.PerFrameFunctionalGroupsSequence:
        block = own.private_block(0x2005, "A MANUFACTURER", create=True)
        block.add_new(0x0F, "SQ", Items([item]))
    dataset.save_as(path)
    assert values(path)[3, 2].tolist() == [11 * 1 - 1, 11 * 2 - 1]


@pytest.mark.parametrize("codec", CLASSES)
def test_pixels_of_every_codec_are_those_of_the_reference(codec: str, real_data: RealData) -> None:
    root = real_data("hostile/dicom_hostile/wg04")
    pairs = [(path, root / f"{path.name.split('_')[0]}_UNC") for path in sorted(root.glob(f"*_{codec}"))]
    known = [(path, reference) for path, reference in pairs if reference.exists() and "Modality" in dcmread(path)]
    placed = [pair for pair in known if not pair[0].name.startswith("NM")]  # these have no place in a patient
    assert placed
    for path, reference in placed:
        assert np.abs(values(path).astype(float) - values(reference).astype(float)).max() <= LOSSY.get(codec, 0), path


@pytest.mark.parametrize("study", ["Study1", "Study2", "Study3"])
def test_real_series_are_read_as_simpleitk_reads_them(study: str, real_data: RealData) -> None:
    root = real_data("dicom") / study
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        (volume,) = find_volumes(frame for path in folder.iterdir() for frame in read_frames(path))
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        image = reader.Execute()
        affine = np.eye(4)
        affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
        affine[:3, 3] = image.GetOrigin()
        np.testing.assert_allclose(volume.header.affine, LPS_TO_RAS @ affine, atol=1e-3)
        assert np.array_equal(read_values(volume.frames), SimpleITK.GetArrayFromImage(image).T)
