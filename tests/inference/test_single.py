"""A model from Python, on one scan."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.inference import InferenceConfig
from pipeline.errors import DatasetError, ModelError, ScanError
from pipeline.formats import registry
from pipeline.inference.predictor import Predictor
from tests.formats.dicom_files import write_slice

WriteModel = Callable[..., Path]
WriteVolume = Callable[..., Path]
IMAGE = np.zeros((4, 5, 6), np.int16)
IMAGE[1, 2, 3], IMAGE[2, 2, 3] = 10, 200
EXPECTED = np.where(IMAGE > 100, 4, IMAGE > 0)


def test_a_scan_and_its_file_give_the_same_mask(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    predictor, path = Predictor.load(write_model()), write_volume(tmp_path / "a.nii", IMAGE)
    for mask in (predictor.predict(path), predictor.predict(registry.read_scan(path))):
        assert np.array_equal(mask, EXPECTED)


def test_a_series_of_dicom_is_given_as_its_folder_or_as_a_zip_file_of_it(
    write_model: WriteModel, tmp_path: Path
) -> None:
    for index in range(6):
        write_slice(tmp_path / "ct" / f"{index}", IMAGE[:, :, index].T, (0, 0, 2 * index))
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        for path in (tmp_path / "ct").iterdir():
            archive.write(path, path.name)
    predictor = Predictor.load(write_model())
    for path in (tmp_path / "ct", tmp_path / "ct.zip"):
        assert np.array_equal(predictor.predict(path), EXPECTED)


def test_settings_may_be_others_than_the_models(write_model: WriteModel) -> None:
    config = InferenceConfig(overlap=0.25, device="cpu", backend="torch", precision="fp32")
    assert Predictor.load(write_model(), config).config.overlap == 0.25


def test_what_is_not_one_scan_is_refused(write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path) -> None:
    predictor = Predictor.load(write_model())
    for name in "ab":
        write_volume(tmp_path / "two" / f"{name}.nii", IMAGE)
    with pytest.raises(DatasetError, match=r"Expected one scan: .*; found 2 at .*two\. Give a path a scan"):
        predictor.predict(tmp_path / "two")
    with pytest.raises(DatasetError, match="found nothing at"):
        predictor.predict(tmp_path / "none")
    (tmp_path / "cut.nii").write_bytes(b"")
    with pytest.raises(ScanError, match="found 0 bytes"):
        predictor.predict(tmp_path / "cut.nii")
    with pytest.raises(ModelError, match="none in"):
        Predictor.load(tmp_path / "two")
