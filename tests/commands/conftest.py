"""A data set and settings for runs of seconds."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.config.load import Config, load_config

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples" / "shapes"
TINY = [
    "name=tiny",
    "data.split.validation=0.2",
    "data.split.test=0.2",
    "network.features=[4,8]",
    "network.strides=null",
    "network.encoder_convolutions=[1,1]",
    "network.decoder_convolutions=[1]",
    "network.deep_supervision=0",
    "training.patch_size=[16,16,16]",
    "training.max_epochs=2",
    "training.max_minutes=null",
    "training.iterations_per_epoch=2",
    "training.workers=0",
    "training.validate_every=1",
    "training.threads=1",
    "training.precision=fp32",
    "training.device=cpu",
    "inference.overlap=0",
    "inference.backend=torch",
]


@pytest.fixture(autouse=True)
def _blank_figures(blank_figures: None) -> None:
    """In every test here."""


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow's without a run: to make one takes seconds, to copy it none."""
    from mlflow import MlflowClient  # takes seconds to import, and not every test here needs it

    database = tmp_path_factory.mktemp("store") / "tracking.db"
    MlflowClient(f"sqlite:///{database}").search_experiments()
    return database


@pytest.fixture
def tracked_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> None:
    """Runs are recorded, and cases cached, below the test's own folder."""
    shutil.copy(empty_store, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/tracking.db")
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """The first five samples."""
    root = tmp_path / "set"
    content = json.loads((SAMPLES / "dataset.json").read_text())
    content["training"], content["test"] = content["training"][:5], []
    for item in content["training"]:
        for path in item.values():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SAMPLES / path, root / path)
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def settings(dataset: Path, *overrides: str) -> Config:
    demo = SAMPLES.parents[1] / "configs" / "demo.yaml"
    return load_config(demo, [*TINY, "estimate.enabled=false", f"data.root={dataset}", *overrides])
