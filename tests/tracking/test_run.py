"""Runs in MLflow, in a database of each test's own."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from PIL import Image

from pipeline.commands.sync import sync
from pipeline.config.tracking import TrackingConfig
from pipeline.errors import ConfigError, ModelError
from pipeline.tracking import sender, store
from pipeline.tracking.address import has_login, tracking_uri, without_login
from pipeline.tracking.identity import Identity, Place, Wanted, read_identity
from pipeline.tracking.models import fetch_model
from pipeline.tracking.outbox import SENT
from pipeline.tracking.records import Metrics, Params
from pipeline.tracking.run import UNKNOWN_WAIT_SECONDS, TrackedRun, now_ms, record_failed_start, track
from pipeline.tracking.system import MARKER

HERE = TrackingConfig()


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def client(database: str = "mlflow.db") -> MlflowClient:
    """By an absolute path: MLflow keeps its stores by their addresses, and a relative one could be a former test's."""
    return MlflowClient(f"sqlite:///{Path(database).resolve()}")


def status(run_id: str | None, database: str = "mlflow.db") -> str:
    assert run_id is not None
    return str(client(database).get_run(run_id).info.status)


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def steps(run_id: str | None, metric: str = "loss") -> list[int]:
    assert run_id is not None
    return sorted(each.step for each in client().get_metric_history(run_id, metric))


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


def test_what_mlflow_refuses_is_said_and_costs_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    with track(HERE, "refused") as run:
        for values in ({"a": "1"}, {"a": "2"}):  # a parameter cannot change
            run._add(Params(values=values))
        run.log_metrics({"loss": 0.5}, step=1)
        run._add(Metrics(values={"not/../a name": 1.0}, step=1, time_ms=1))
        run.log_metrics({"loss": 0.25}, step=2)
    assert status(run.run_id) == "FINISHED"
    assert "MLflow does not take params of the run" in caplog.text
    assert "MLflow does not take metrics of the run" in caplog.text
    assert steps(run.run_id) == [1, 2]


@pytest.mark.parametrize("error", [ZeroDivisionError("of a test"), KeyboardInterrupt("of a test")])
def test_an_error_in_recording_the_end_does_not_hide_what_ended_the_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def refuse(*_: object) -> None:
        raise MlflowException("the server has gone")

    monkeypatch.setattr(TrackedRun, "end", refuse)
    with pytest.raises(type(error), match="of a test"), track(HERE, "wrong"):
        raise error
    assert "could not be recorded: MlflowException: the server has gone" in caplog.text


def test_where_a_run_is_recorded_does_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///store/runs.db")
    with track(HERE, "begun") as begun:
        pass
    assert begun.identity.uri == f"sqlite:///{tmp_path}/store/runs.db"
    files = client("store/runs.db").get_run(str(begun.run_id)).info.artifact_uri
    assert files == f"file://{tmp_path}/store/mlartifacts/{begun.run_id}/artifacts"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with track(HERE, "begun", continues=begun.identity):
        wait_until(lambda: status(begun.run_id, f"{tmp_path}/store/runs.db") == "RUNNING")
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
        track(HERE, "begun", continues=replace(begun.identity, uri=tracking_uri(begun.identity.uri))),
    ):
        raise AssertionError("it does not come to this")
    assert status(begun.run_id) == "FINISHED"


def test_a_process_that_inherits_the_run_of_another_gets_a_run_of_its_own_below_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    experiment = client().create_experiment("sweep")
    handed_over = client().create_run(experiment).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", handed_over)
    with track(HERE, "first") as first, track(HERE, "second") as second, track(HERE, "third") as third:
        first.log_metrics({"loss": 1.0}, 1)
        second.log_metrics({"loss": 2.0}, 1)
    assert first.run_id == handed_over
    assert len({first.run_id, second.run_id, third.run_id}) == 3
    for run, loss in ((first, 1.0), (second, 2.0)):
        assert run.run_id is not None
        assert client().get_run(run.run_id).data.metrics["loss"] == loss
    assert second.run_id is not None
    below = client().get_run(second.run_id)
    assert below.data.tags["mlflow.parentRunId"] == handed_over
    assert below.info.experiment_id == experiment


def test_a_run_hangs_on_its_parent_in_the_parent_s_experiment_where_the_store_knows_it() -> None:
    with track(TrackingConfig(experiment="mine"), "training") as parent:
        pass
    for parent_id, linked in ((parent.run_id, True), ("0" * 32, False)):
        with track(HERE, "evaluation", parent_id=parent_id) as run:
            pass
        assert run.run_id is not None
        found = client().get_run(run.run_id)
        assert found.data.tags.get("mlflow.parentRunId") == (parent.run_id if linked else None)
        assert (client().get_experiment(found.info.experiment_id).name == "mine") is linked


class Away:
    """A server that does not answer until it is told to come back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gone = True
        connect = store.connect

        def connect_or_fail(uri: str) -> MlflowClient:
            self.check()
            return connect(uri)

        log_batch = MlflowClient.log_batch

        def log_or_fail(*arguments: Any, **named: Any) -> Any:
            self.check()
            return log_batch(*arguments, **named)

        monkeypatch.setattr(store, "connect", connect_or_fail)
        monkeypatch.setattr(MlflowClient, "log_batch", log_or_fail)
        monkeypatch.setattr(sender, "FIRST_PAUSE_SECONDS", 0.05)

    def check(self) -> None:
        if self.gone:
            raise MlflowException("API request failed: connection refused")


def test_a_server_that_is_away_in_the_middle_gets_every_metric_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away = Away(monkeypatch)
    away.gone = False
    with track(HERE, "run") as run:
        for step in range(1, 7):
            run.log_metrics({"loss": 1 / step}, step)
            if step == 2:
                wait_until(lambda: len(run._outbox) == 0)
                away.gone = True
            if step == 4:
                wait_until(lambda: "cannot be told all" in caplog.text)
                away.gone = False
    assert status(run.run_id) == "FINISHED"
    assert steps(run.run_id) == [1, 2, 3, 4, 5, 6]
    assert "what is recorded is kept and sent later" in caplog.text
    assert "has been told all" in caplog.text


def test_what_a_server_that_stays_away_did_not_get_is_kept_and_sent_by_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away = Away(monkeypatch)
    away.gone = False
    with track(TrackingConfig(experiment="parents"), "parent") as parent:
        pass
    away.gone = True
    place = Place.of_training(tmp_path / "run")
    before = now_ms()
    with track(TrackingConfig(wait_seconds=0.2, run_name="mine"), "run", parent_id=parent.run_id) as run:
        run.keep_in(place)
        run.log_metrics({"loss": 0.5}, 1)
    after = now_ms()
    assert run.run_id is None
    assert re.search(r"has not got everything .* are kept in .*; `medseg sync .*/run` sends them", caplog.text)
    away.gone = False
    assert sync(tmp_path / "run", 20.0) == 0
    identity = read_identity(place.identity)
    assert identity.run_id is not None
    assert status(identity.run_id) == "FINISHED"
    assert steps(identity.run_id) == [1]
    found = client().get_run(identity.run_id)
    assert client().get_experiment(found.info.experiment_id).name == "parents"
    assert (found.info.run_name, found.data.tags["mlflow.parentRunId"]) == ("mine", parent.run_id)
    assert before <= found.info.start_time <= found.info.end_time <= after
    assert sync(tmp_path / "run", 20.0) == 0  # and again, which adds nothing
    assert steps(identity.run_id) == [1]


def test_a_run_that_a_server_never_heard_of_gets_the_experiment_that_it_was_begun_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Away(monkeypatch)
    with track(TrackingConfig(wait_seconds=0.2, experiment="liver"), "run") as run:
        run.keep_in(Place.of_training(tmp_path / "run"))
    away.gone = False
    assert sync(tmp_path / "run", 20.0) == 0
    run_id = read_identity(tmp_path / "run" / "run.json").run_id
    assert run_id is not None
    assert client().get_experiment(client().get_run(run_id).info.experiment_id).name == "liver"


def test_a_run_is_found_by_the_id_that_it_had_before_a_server_knew_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away = Away(monkeypatch)
    with track(TrackingConfig(wait_seconds=0.2), "training") as run:
        run.keep_in(Place.of_training(tmp_path / "run"))
        (tmp_path / "run" / "model").mkdir()
        (tmp_path / "run" / "model" / "model.json").write_text("{}")
        run.log_file(tmp_path / "run" / "model", "model")
    away.gone = False
    caplog.set_level("INFO")
    assert sync(tmp_path / "run", 20.0) == 0
    own_id, run_id = run.identity.own_id, read_identity(tmp_path / "run" / "run.json").run_id
    assert f"is the run {run_id} in MLflow" in caplog.text
    assert (fetch_model(f"runs:/{own_id}/model", tmp_path) / "model.json").read_text() == "{}"
    with track(HERE, "evaluation", parent_id=own_id) as evaluation:
        pass
    assert evaluation.run_id is not None
    assert client().get_run(evaluation.run_id).data.tags["mlflow.parentRunId"] == run_id


def test_files_that_have_nowhere_to_go_hold_up_nothing_else_and_are_sent_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sender, "FIRST_PAUSE_SECONDS", 0.05)
    log_artifact = MlflowClient.log_artifact

    def refuse(*_: Any) -> None:
        raise ModuleNotFoundError("No module named 'boto3'")

    monkeypatch.setattr(MlflowClient, "log_artifact", refuse)
    with track(HERE, "run") as run:
        run.keep_in(Place.of_training(tmp_path / "run"))
        (tmp_path / "run" / "a.txt").write_text("a")
        run.log_file(tmp_path / "run" / "a.txt")
        run.register_model("mine", "best")
        run.log_metrics({"loss": 0.5}, 1)
        wait_until(lambda: len(run._outbox.late()) == 2 and len(run._outbox) == 2)
        run.config = TrackingConfig(wait_seconds=5.0)  # the end waits for the file, in vain
    assert (status(run.run_id), steps(run.run_id)) == ("FINISHED", [1])
    assert "has not got everything (No module named 'boto3'): 2 records are kept" in caplog.text
    assert client().search_registered_models() == []  # of a model that is not there
    caplog.clear()
    assert sync(tmp_path / "run", 1.0) == 2
    assert "(No module named 'boto3'): 2 records are kept" in caplog.text
    monkeypatch.setattr(MlflowClient, "log_artifact", log_artifact)
    assert sync(tmp_path / "run", 20.0) == 0
    assert run.run_id is not None
    assert [item.path for item in client().list_artifacts(run.run_id)] == ["a.txt"]
    assert client().get_model_version_by_alias("mine", "best").run_id == run.run_id


def test_a_picture_that_is_sent_twice_is_one_and_one_that_is_none_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = Place.of_training(tmp_path / "run")
    with track(HERE, "run") as run:
        run.keep_in(place)
        Image.new("RGB", (4, 4)).save(tmp_path / "run" / "a.png")
        (tmp_path / "run" / "b.png").write_text("no picture")
        run.log_picture(tmp_path / "run" / "a.png", "case", 1)
        run.log_picture(tmp_path / "run" / "b.png", "other", 1)
    assert "MLflow does not take picture of the run" in caplog.text
    (place.outbox / SENT).unlink()  # so that all is sent again
    assert sync(tmp_path / "run", 20.0) == 0
    assert run.run_id is not None
    names = [Path(item.path).name for item in client().list_artifacts(run.run_id, "images")]
    assert sorted(name.rpartition("+")[2].partition(".")[2] for name in names) == ["png", "webp"]
    assert all(name.startswith("case+step+1+timestamp+") for name in names)


def test_the_description_that_somebody_gave_a_run_outlasts_its_failure(tmp_path: Path) -> None:
    place = Place.of_training(tmp_path / "run")

    def note() -> str | None:
        assert run.run_id is not None
        tags = client().get_run(run.run_id).data.tags
        text: str | None = tags.get("mlflow.note.content")
        return text

    described = TrackingConfig(tags={"mlflow.note.content": "My favourite."})
    with pytest.raises(ZeroDivisionError, match="one"), track(described, "run", place=place) as run:
        raise ZeroDivisionError("one")
    assert note() == "**Failed.** ZeroDivisionError: one\n\n---\n\nMy favourite."
    with track(HERE, "run", continues=run.identity, place=place):
        wait_until(lambda: note() == "My favourite.")
    assert note() == "My favourite."


def test_an_interrupt_while_the_run_is_being_made_leaves_none_that_seems_to_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def made_and_interrupted(self: sender.Sender, _: float) -> bool:
        assert self._known.wait(30)
        raise KeyboardInterrupt("of a test")

    monkeypatch.setattr(sender.Sender, "wait_for_run", made_and_interrupted)
    with pytest.raises(KeyboardInterrupt, match="of a test"), track(HERE, "run"):
        raise AssertionError("it does not come to this")
    (run,) = client().search_runs(["1"])
    assert run.info.status == "KILLED"


def test_a_login_is_in_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: str) -> MlflowClient:
        raise MlflowException("API request to http://me:secret@server:1/api failed: timed out")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@server:1")
    monkeypatch.setattr(store, "connect", fail)
    with track(TrackingConfig(wait_seconds=0.2), "run"):
        pass
    with pytest.raises(ModelError, match="API request to http://server:1/api failed") as told:
        fetch_model("runs:/1/model", Path())
    assert "http://server:1/api failed: timed out" in caplog.text
    assert "secret" not in caplog.text + str(told.value)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    place = Place.of_training(tmp_path / "run")
    with pytest.raises(OSError, match="secret"), track(HERE, "run", place=place) as run:
        raise OSError("http://me:secret@server:1 is away")
    assert run.run_id is not None
    assert "secret" not in str(client().get_run(run.run_id).to_dictionary())
    assert "secret" not in (place.outbox / "traceback.txt").read_text()


def test_a_folder_of_results_keeps_no_trace_once_everything_is_sent(tmp_path: Path) -> None:
    with track(HERE, "evaluation") as run:
        run.keep_in(Place.of_results(tmp_path / "out", run.identity.own_id))
        run.log_metrics({"dice": 0.5}, 0)
    assert status(run.run_id) == "FINISHED"
    assert list((tmp_path / "out").iterdir()) == []


def test_there_is_nothing_to_send_in_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"Expected records for MLflow; found none in .*\. Give a run's folder"):
        sync(tmp_path, 1.0)


def test_a_resumed_run_adds_nothing_for_a_step_that_it_has_recorded(tmp_path: Path) -> None:
    place = Place.of_training(tmp_path / "run")
    with track(HERE, "run") as run:
        run.keep_in(place)
        run.log_metrics({"loss": 0.5, "dice": None}, 1)
    with track(HERE, "run", continues=run.identity, place=place) as again:
        again.log_metrics({"loss": 0.25, "dice": None}, 1)
        again.log_metrics({"loss": 0.125, "dice": None}, 2)
    assert again.run_id == run.run_id
    assert steps(run.run_id) == [1, 2]


def test_the_machine_is_sampled_and_a_resumed_run_goes_on_counting(tmp_path: Path) -> None:
    config, place = TrackingConfig(system_metrics_seconds=0.05), Place.of_training(tmp_path / "run")
    with track(config, "run") as run:
        run.keep_in(place)
        run.sample_system()
        wait_until(lambda: run._outbox.last_steps.get(MARKER, -1) >= 2)
    with track(config, "run", continues=run.identity, place=place) as again:
        again.sample_system()
        wait_until(lambda: again._outbox.last_steps[MARKER] >= 5)
    sampled = steps(run.run_id, MARKER)
    assert sampled == list(range(len(sampled)))
    assert steps(run.run_id, "system/system_memory_usage_megabytes") == sampled


def test_a_start_that_failed_is_a_failed_run_that_says_why() -> None:
    record_failed_start("mine", ConfigError("a key", "none", "Add it."))
    (run,) = client().search_runs(["1"])
    assert (run.info.status, run.info.run_name) == ("FAILED", "mine")
    assert run.data.tags["error"] == "Expected a key; found none. Add it."


def test_a_start_that_failed_waits_for_an_absent_server_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Away(monkeypatch)
    waited: list[float] = []
    monkeypatch.setattr(sender.Sender, "join", lambda _, seconds: waited.append(seconds))
    monkeypatch.setattr(sender.Sender, "wait_for_run", lambda _, seconds: waited.append(seconds))
    record_failed_start("mine", ConfigError("a key", "none", "Add it."))
    assert waited == [TrackingConfig().wait_seconds, UNKNOWN_WAIT_SECONDS]


def test_a_login_is_not_written_down_with_the_address_of_a_server(tmp_path: Path) -> None:
    identity = Identity("https://me:secret@server:5000", Wanted("medseg", "run"), "1", "2")
    run = TrackedRun(HERE, identity)
    run.keep_in(Place.of_training(tmp_path))
    text = (tmp_path / "run.json").read_text()
    assert "secret" not in text
    assert json.loads(text)["tracking_uri"] is None
    assert read_identity(tmp_path / "run.json") == replace(identity, uri=tracking_uri())
    assert without_login(identity.uri) == "server"
    assert not has_login("https://server:5000")


@pytest.mark.parametrize("label", ["tumor (core)", "a+b", "a,b", "C1&C2", "Crohn's", "a/../b", "größe", "x" * 400])
def test_metrics_settings_and_tags_of_any_name_are_recorded(label: str) -> None:
    with track(HERE, "named") as run:
        run.log_metrics({f"dice_{label}": 0.5}, step=1)
        run.log_settings({"data": {"labels": {label: 1}}})
        run.set_tags({label: "yes"})
    assert run.run_id is not None
    data = client().get_run(run.run_id).data
    (name,) = data.metrics
    assert name.startswith("dice_")
    assert data.metrics[name] == 0.5
    assert list(data.params.values()) == ["1"]
