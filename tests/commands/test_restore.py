"""Restored images of a folder of scans."""

import csv
import io
from pathlib import Path

import nibabel
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.commands.pretrain import PretrainedRun, pretrain
from pipeline.commands.restore import restore
from pipeline.model import load_autoencoder
from tests.commands.test_pretrain import configured

QUIET = Console(file=io.StringIO())
pytestmark = pytest.mark.usefixtures("tracked_here")


@pytest.fixture
def run(dataset: Path, tmp_path: Path) -> PretrainedRun:
    return pretrain(configured("denoising", dataset), tmp_path / "run", QUIET)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_each_scan_has_an_image_on_its_own_grid_and_what_is_none_a_reason(
    run: PretrainedRun, dataset: Path, tmp_path: Path
) -> None:
    folder, model = dataset / "imagesTr", load_autoencoder(run.model)
    (folder / "letter.txt").write_text("no scan")
    (folder / "broken.nii.gz").write_bytes(b"broken")
    rows = restore(model, folder, tmp_path / "out", config=model.manifest.inference, console=QUIET)
    assert sorted(row.status for row in rows) == ["failed", "ok", "ok", "ok", "ok", "ok", "skipped"]
    written = table(tmp_path / "out" / "cases.csv")
    assert list(written[0]) == ["case", "input", "status", "reason", "image"]
    for row in written:
        if row["status"] != "ok":
            assert row["reason"]
            assert row["image"] == ""
            continue
        before = nibabel.Nifti1Image.from_filename(folder / row["input"])
        after = nibabel.Nifti1Image.from_filename(tmp_path / "out" / row["image"])
        assert after.shape == before.shape
        np.testing.assert_allclose(after.affine, before.affine, atol=1e-5)
        assert after.get_data_dtype() == np.float32
        assert bytes(after.header["descrip"]).startswith(b"restored by medseg")
        assert np.corrcoef(np.ravel(after.dataobj), np.ravel(before.dataobj))[0, 1] > 0.9


def test_images_that_are_there_are_replaced_only_where_that_is_asked_for(
    run: PretrainedRun, dataset: Path, tmp_path: Path
) -> None:
    arguments = ["predict", str(run.model), str(dataset / "imagesTr"), str(tmp_path / "out")]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert "5 scans restored, 0 failed, 0 files skipped" in first.output
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1
    assert "no restored image of this case yet; found restored.nii.gz in OUTPUT" in again.output
    assert CliRunner().invoke(app, [*arguments, "--overwrite"]).exit_code == 0


def test_an_autoencoder_that_restores_nothing_is_refused(dataset: Path, tmp_path: Path) -> None:
    other = pretrain(configured("undercomplete", dataset), None, QUIET)
    result = CliRunner().invoke(app, ["predict", str(other.model), str(dataset / "imagesTr"), str(tmp_path / "out")])
    assert result.exit_code != 0
    assert "restores scans; found one of kind undercomplete" in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--tta", "--identity", "--track"])
def test_options_of_masks_are_refused(option: str, run: PretrainedRun, dataset: Path, tmp_path: Path) -> None:
    arguments = ["predict", str(run.model), str(dataset / "imagesTr"), str(tmp_path / "out"), option]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "are for models that segment" in result.output
