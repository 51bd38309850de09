"""Scans that never were: what is written, and that it says so."""

import io
from pathlib import Path

import nibabel
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.commands.generate import generate
from pipeline.commands.pretrain import pretrain
from pipeline.errors import ModelError, ScanError
from pipeline.inference.generation import Generator, load_generator
from pipeline.inference.reading import read_and_prepare
from pipeline.inference.single import only_scan
from pipeline.model import load_autoencoder
from tests.commands.test_pretrain import configured

QUIET = Console(file=io.StringIO())
pytestmark = pytest.mark.usefixtures("tracked_here")


@pytest.fixture
def generator(dataset: Path, tmp_path: Path) -> Generator:
    return load_generator(load_autoencoder(pretrain(configured("variational", dataset), tmp_path / "run", QUIET).model))


def array(path: Path) -> np.ndarray:
    return np.asarray(nibabel.Nifti1Image.from_filename(path).dataobj)


def test_draws_are_scans_of_the_patch_s_size_that_call_themselves_synthetic(
    generator: Generator, tmp_path: Path
) -> None:
    written = generate(generator, tmp_path / "out", samples=3, seed=0)
    assert [path.name for path in written.scans] == [f"synthetic_sample_000{number}.nii.gz" for number in (1, 2, 3)]
    assert [path.name for path in written.pictures] == ["synthetic_sample.png"]
    image = nibabel.Nifti1Image.from_filename(written.scans[0])
    assert image.shape == (16, 16, 16)
    assert bytes(image.header["descrip"]).startswith(b"synthetic: drawn by medseg")
    assert image.header.get_zooms() == pytest.approx(generator.embedder.manifest.preprocessing.spacing_mm)
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    assert not np.array_equal(array(written.scans[0]), array(written.scans[1]))


def test_the_seed_decides(generator: Generator, tmp_path: Path) -> None:
    runs = [generate(generator, tmp_path / name, samples=1, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    one, again, other = (array(run.scans[0]) for run in runs)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_the_way_between_two_scans_begins_and_ends_with_their_reconstructions(
    generator: Generator, dataset: Path, tmp_path: Path
) -> None:
    first, last = sorted((dataset / "imagesTr").iterdir())[:2]
    written = generate(generator, tmp_path / "out", samples=0, seed=0, between=(first, last))
    assert [path.name for path in written.scans] == [f"between_000{number}.nii.gz" for number in range(1, 9)]
    assert [path.name for path in written.pictures] == ["between.png"]
    description = bytes(nibabel.Nifti1Image.from_filename(written.scans[0]).header["descrip"])
    assert description.startswith(b"made by medseg between two scans")  # its ends are no synthetic ones
    manifest = generator.embedder.manifest
    with only_scan(first, manifest, manifest.inference) as entry:
        prepared = read_and_prepare(entry, manifest.preprocessing).prepared
    same = generator.between(prepared, prepared, 2)
    np.testing.assert_allclose(array(written.scans[0]), same[0][0], atol=1e-5)


def test_only_a_variational_autoencoder_draws(dataset: Path) -> None:
    model = load_autoencoder(pretrain(configured("undercomplete", dataset), None, QUIET).model)
    with pytest.raises(ModelError, match=r"a variational autoencoder, .*; found one of kind undercomplete"):
        load_generator(model)


def test_a_scan_that_cannot_be_read_is_refused(generator: Generator, tmp_path: Path) -> None:
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"broken")
    with pytest.raises(ScanError, match=r"broken\.nii\.gz|NIfTI"):
        generate(generator, tmp_path / "out", samples=0, seed=0, between=(broken, broken))


def test_the_command_line_says_what_it_wrote(generator: Generator, tmp_path: Path) -> None:
    assert generator.embedder.manifest.name == "variational"
    arguments = ["generate", str(tmp_path / "run" / "model"), "-o", str(tmp_path / "out"), "--samples", "2"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "2 scans and 1 picture of them" in result.output
    nothing = CliRunner().invoke(app, [*arguments[:4], "--samples", "0"])
    assert nothing.exit_code == 2
    assert "--samples above 0" in nothing.output
