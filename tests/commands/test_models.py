"""Every way in which a model can be given to a command, each with a real model behind it."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.commands.models import open_model
from pipeline.config.tracking import TrackingConfig
from pipeline.errors import ModelError
from pipeline.manifest import read_manifest
from pipeline.tracking.identity import Place
from pipeline.tracking.run import track
from pipeline.tracking.sending import MODEL

WriteModel = Callable[..., Path]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a test; downloads and unpacked archives pass through its folder ``temporary``."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    folder, temporary = tmp_path / "here", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    return folder


@pytest.fixture(params=["default store", "MLFLOW_TRACKING_URI"])
def run_id(
    request: pytest.FixtureRequest, write_model: WriteModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A run that logged the model as training does, in the default store or in the one that the variable names."""
    if request.param == "default store":
        older = Path("mlruns/0/meta.yaml")  # from an MLflow before 3.7; today's takes such a folder for its default
        older.parent.mkdir(parents=True)
        older.write_text("name: Default\n")
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/elsewhere.db")
    with track(TrackingConfig(), "threshold") as run:
        run.keep_in(Place.of_training(tmp_path))
        run.log_file(write_model(), MODEL)
    assert run.run_id is not None
    return run.run_id


def client_of(run_id: str) -> MlflowClient:
    """A client of the store that holds the run."""
    for database in (Path("mlflow.db"), Path("../elsewhere.db")):
        if database.exists():
            client = MlflowClient(f"sqlite:///{database.resolve()}")
            assert client.get_run(run_id).info.status == "FINISHED"
            return client
    raise AssertionError("no store")


def check(given: str, tmp_path: Path) -> None:
    """The model opens as the one on disk, and nothing of it is left in the temporary folder."""
    model = open_model(given)
    assert model.manifest == read_manifest(tmp_path / "model")
    assert model.network.state_dict()["heads.0.bias"].tolist() == [0.0, -0.5, -101.0]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_folder(write_model: WriteModel, tmp_path: Path) -> None:
    check(str(write_model()), tmp_path)


@pytest.mark.parametrize(
    ("base", "ending"), [("model", "zip"), (".", "zip"), ("model", "ZIP")], ids=["folder", "files", "capitals"]
)
def test_a_zip_of_the_folder_or_of_its_files(write_model: WriteModel, tmp_path: Path, base: str, ending: str) -> None:
    write_model()
    if base == "model":
        archive = shutil.make_archive(str(tmp_path / "archive"), "zip", tmp_path, "model")
    else:
        archive = shutil.make_archive(str(tmp_path / "archive"), "zip", tmp_path / "model")
    check(str(Path(archive).rename(tmp_path / f"given.{ending}")), tmp_path)


def test_a_run(run_id: str, tmp_path: Path) -> None:
    check(f"runs:/{run_id}/model", tmp_path)


@pytest.mark.parametrize("form", ["{}@champion", "{}/1"], ids=["alias", "version"])
def test_a_registered_model(run_id: str, tmp_path: Path, form: str) -> None:
    client = client_of(run_id)
    client.create_registered_model("shapes")
    version = client.create_model_version("shapes", f"runs:/{run_id}/model", run_id)
    client.set_registered_model_alias("shapes", "champion", version.version)
    check("models:/" + form.format("shapes"), tmp_path)


@pytest.mark.parametrize("given", ["runs:/0123456789abcdef/model", "models:/shapes@champion", "models:/shapes/1"])
def test_what_mlflow_does_not_know_is_refused(given: str) -> None:
    with pytest.raises(ModelError, match=rf"a model that MLflow knows; found {given}: .*Check the id and MLFLOW_TRACK"):
        open_model(given)


def test_a_damaged_zip_is_refused(write_model: WriteModel, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "archive"), "zip", write_model()))
    with zipfile.ZipFile(archive) as opened:
        start = opened.getinfo("model.json").header_offset + 30 + len("model.json")
    content = bytearray(archive.read_bytes())
    content[start : start + 40] = bytes([0xFF] * 40)  # within the compressed data
    archive.write_bytes(content)
    with pytest.raises(ModelError, match=r"a \.zip of a model's folder; found .*archive\.zip: .*Export"):
        open_model(str(archive))


def test_a_zip_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").write_text("none")
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", tmp_path / "notes")
    with pytest.raises(ModelError, match=r"a \.zip with model\.json and weights\.safetensors; found others in"):
        open_model(archive)
