"""Models that MLflow keeps."""

from pathlib import Path

import pytest

from pipeline.errors import ModelError
from pipeline.tracking.models import fetch_model


def test_looking_for_a_model_makes_no_empty_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"a model that MLflow knows; found runs:/abc/model: there is no sqlite:///"):
        fetch_model("runs:/abc/model", tmp_path)
    assert list(tmp_path.iterdir()) == []
