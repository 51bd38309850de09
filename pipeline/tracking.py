"""Runs in MLflow; the only importer of it.

The client is used with an explicit run id and no global state, so that runs started side by side do not mix.
"""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.time import get_current_time_millis

from pipeline.config.tracking import TrackingConfig
from pipeline.errors import ModelError

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
BATCH = 100
LONGEST_VALUE = 500
MODEL_FOLDER = "model"

for _noisy in ("alembic", "mlflow.store.db.utils"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)


class TrackedRun:
    """A run that is being recorded."""

    def __init__(self, client: MlflowClient, run_id: str, uri: str) -> None:
        self._client = client
        self.run_id = run_id
        self.uri = uri

    def log_settings(self, settings: dict[str, Any]) -> None:
        """Record nested settings as parameters with dotted names; values that are too long are cut."""
        params = [Param(name, str(value)[:LONGEST_VALUE]) for name, value in _flat(settings)]
        for first in range(0, len(params), BATCH):
            self._client.log_batch(self.run_id, params=params[first : first + BATCH])

    def log_metrics(self, metrics: dict[str, float | None], step: int) -> None:
        """Record the metrics that have a value at a step."""
        now = get_current_time_millis()
        known = [Metric(name, value, now, step) for name, value in metrics.items() if value is not None]
        self._client.log_batch(self.run_id, metrics=known)

    def set_tags(self, tags: dict[str, str]) -> None:
        """Record tags."""
        self._client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Record a file, in a folder of the run's artifacts."""
        self._client.log_artifact(self.run_id, str(path), folder)

    def log_model(self, folder: Path) -> None:
        """Record a model's folder; it is then found as ``runs:/<run id>/model``."""
        self._client.log_artifacts(self.run_id, str(folder), MODEL_FOLDER)


@contextmanager
def track(config: TrackingConfig, name: str, run_id: str | None = None) -> Iterator[TrackedRun]:
    """Record a run; on leaving, it is FINISHED, FAILED after an exception, KILLED after an interrupt.

    Args:
        config: experiment, run name and tags.
        name: the run's name where the configuration has none.
        run_id: a run to continue; by default the one that ``mlflow run`` started, or else a new one.
    """
    client, uri = _connect()
    run_id = run_id or os.environ.get("MLFLOW_RUN_ID") or _create(client, config, uri)
    client.update_run(run_id, status="RUNNING", name=config.run_name or name)
    run = TrackedRun(client, run_id, uri)
    run.set_tags(config.tags)
    try:
        yield run
    except KeyboardInterrupt:
        client.set_terminated(run_id, "KILLED")
        raise
    except BaseException as error:
        run.set_tags({"error": str(error)[:LONGEST_VALUE]})
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")


def fetch_model(uri: str) -> Path:
    """Download a model that MLflow knows by ``runs:/ID/model`` or ``models:/NAME@ALIAS``.

    Raises:
        ModelError: MLflow does not know it.
    """
    _, tracking_uri = _connect()
    try:
        return Path(
            download_artifacts(uri, dst_path=tempfile.mkdtemp(prefix="medseg-model-"), tracking_uri=tracking_uri)
        )
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            "a model that MLflow knows", f"{uri}: {reason}", "Check the id and MLFLOW_TRACKING_URI."
        ) from error


def tracking_uri() -> str:
    """What MLFLOW_TRACKING_URI says, or else a SQLite file in the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / DATABASE}"


def _connect() -> tuple[MlflowClient, str]:
    """A client. A new SQLite file is set up by one process alone, because two that migrate it at once break it."""
    uri = tracking_uri()
    if not uri.startswith("sqlite:///"):
        return MlflowClient(uri), uri
    database = Path(uri.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock"):
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client, uri


def _create(client: MlflowClient, config: TrackingConfig, uri: str) -> str:
    return str(client.create_run(_experiment_id(client, config, uri)).info.run_id)


def _experiment_id(client: MlflowClient, config: TrackingConfig, uri: str) -> str:
    if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return given
    local = (Path.cwd() / ARTIFACTS).as_uri() if uri.startswith("sqlite:///") else None
    try:
        return str(client.create_experiment(config.experiment, artifact_location=local))
    except MlflowException:
        found = client.get_experiment_by_name(config.experiment)
        if found is None:
            raise
        return str(found.experiment_id)


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
