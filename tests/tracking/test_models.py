"""Models that MLflow keeps."""

from pathlib import Path

import pytest

from pipeline.errors import ModelError
from pipeline.tracking import store
from pipeline.tracking.address import reason_in_short
from pipeline.tracking.models import fetch_model


def test_looking_for_a_model_makes_no_empty_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"a model that MLflow knows; found runs:/abc/model: there is no sqlite:///"):
        fetch_model("runs:/abc/model", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_registered_model_without_alias_or_version_is_refused_with_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    store.connect(f"sqlite:///{tmp_path}/runs.db")
    with pytest.raises(ModelError, match=r"found models:/liver\. Give models:/NAME@ALIAS or models:/NAME/VERSION"):
        fetch_model("models:/liver", tmp_path)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "HTTPConnectionPool(host='a', port=1): Max retries exceeded (Caused by E('x: [Errno 111] refused'))",
            "refused",
        ),
        ("API request to http://me:secret@a/b failed: timed out\nmore", "API request to http://a/b failed: timed out"),
        ("", "OSError"),
    ],
)
def test_an_error_is_shown_in_a_line_without_address_chains_and_logins(message: str, shown: str) -> None:
    assert reason_in_short(OSError(message)) == shown
