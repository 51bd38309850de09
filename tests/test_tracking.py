"""Runs in MLflow, in a database of each test's own."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.config.tracking import TrackingConfig
from pipeline.errors import ModelError
from pipeline.tracking import TrackedRun, fetch_model, legal_names, track

pytestmark = pytest.mark.filterwarnings("ignore:.*loader strategy is deprecated")  # what MLflow asks of SQLAlchemy
HERE = TrackingConfig()


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def client(database: str = "mlflow.db") -> MlflowClient:
    """By an absolute path: MLflow keeps its stores by their addresses, and a relative one could be a former test's."""
    return MlflowClient(f"sqlite:///{Path(database).resolve()}")


def status(run_id: str, database: str = "mlflow.db") -> str:
    return str(client(database).get_run(run_id).info.status)


def test_a_run_ends_as_what_happened_in_it() -> None:
    with track(HERE, "fine") as fine:
        assert status(fine.run_id) == "RUNNING"
    assert status(fine.run_id) == "FINISHED"
    with pytest.raises(ZeroDivisionError, match="division"), track(HERE, "wrong") as wrong:
        raise ZeroDivisionError("division of a test")
    assert status(wrong.run_id) == "FAILED"
    with pytest.raises(KeyboardInterrupt, match="of a test"), track(HERE, "stopped") as stopped:
        raise KeyboardInterrupt("of a test")
    assert status(stopped.run_id) == "KILLED"


def test_a_run_that_mlflow_refuses_settings_of_has_failed_and_is_not_left_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MlflowException("Invalid value of a test")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", refuse)
        with pytest.raises(MlflowException, match="Invalid value"), track(HERE, "refused"):
            raise AssertionError("it does not come to this")
    (run,) = client().search_runs(["1"])
    assert run.info.status == "FAILED"


@pytest.mark.parametrize("error", [ZeroDivisionError("of a test"), KeyboardInterrupt("of a test")])
def test_an_error_in_recording_the_end_does_not_hide_what_ended_the_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def refuse(*_: object) -> None:
        raise MlflowException("the server has gone")

    monkeypatch.setattr(TrackedRun, "end", refuse)
    with pytest.raises(type(error), match="of a test"), track(HERE, "wrong"):
        raise error
    assert "could not record: the server has gone" in caplog.text


def test_where_a_run_is_recorded_does_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///store/runs.db")
    with track(HERE, "begun") as begun:
        pass
    assert begun.uri == f"sqlite:///{tmp_path}/store/runs.db"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with track(HERE, "begun", run_id=begun.run_id, uri=begun.uri):
        assert status(begun.run_id, f"{tmp_path}/store/runs.db") == "RUNNING"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_store_that_the_variable_names_counts_for_more_than_the_one_that_a_run_was_begun_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with track(HERE, "begun") as begun:
        pass
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    with track(HERE, "other"):
        pass
    with (
        pytest.raises(
            ModelError, match=rf"the MLflow run {begun.run_id}, which is to go on; found none, .*/other\.db\. S"
        ),
        track(HERE, "begun", run_id=begun.run_id, uri=begun.uri),
    ):
        raise AssertionError("it does not come to this")
    assert status(begun.run_id) == "FINISHED"


def test_a_login_is_not_handed_out_with_the_address_of_a_server() -> None:
    assert TrackedRun(client(), "1", "https://me:secret@server:5000").uri is None
    assert TrackedRun(client(), "1", "https://server:5000").uri == "https://server:5000"


@pytest.mark.parametrize("label", ["tumor (core)", "a+b", "a,b", "C1&C2", "Crohn's", "a/../b", "größe", "x" * 400])
def test_metrics_settings_and_tags_of_any_name_are_recorded(label: str) -> None:
    with track(HERE, "named") as run:
        run.log_metrics({f"dice_{label}": 0.5}, step=1)
        run.log_settings({"data": {"labels": {label: 1}}})
        run.set_tags({label: "yes"})
    data = client().get_run(run.run_id).data
    (name,) = data.metrics
    assert name.startswith("dice_")
    assert data.metrics[name] == 0.5
    assert list(data.params.values()) == ["1"]


def test_names_that_come_out_as_one_are_told_apart() -> None:
    assert legal_names(["a", "a+b", "a,b", "a b", "a&b", "a_b_2"]) == {
        "a": "a",
        "a+b": "a_b",
        "a,b": "a_b_2",
        "a b": "a b",
        "a&b": "a_b_3",
        "a_b_2": "a_b_2_2",
    }


def test_looking_for_a_model_makes_no_empty_database(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a model that MLflow knows; found runs:/abc/model: there is no sqlite:///"):
        fetch_model("runs:/abc/model", tmp_path)
    assert list(tmp_path.iterdir()) == []
