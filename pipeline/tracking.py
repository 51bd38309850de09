"""Runs in MLflow; the only importer of it.

The client is used with an explicit run id and no global state, so that runs started side by side do not mix.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.time import get_current_time_millis
from mlflow.utils.uri import resolve_uri_if_local

from pipeline.config.tracking import TrackingConfig
from pipeline.errors import ModelError

SQLITE = "sqlite:///"
DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
BATCH = 100
LONGEST_VALUE = 500
LONGEST_NAME = 240
MODEL_FOLDER = "model"
REGISTERED = "models:/"
NO_SUCH_RUN = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
"""What MLflow calls an id that it has no run for, and one that no run can have."""

log = logging.getLogger(__name__)
for _noisy in ("alembic", "mlflow.store.db.utils"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)


class TrackedRun:
    """A run that is being recorded.

    Attributes:
        run_id: its id in MLflow.
        uri: the tracking server or store, independent of the working directory; None where it would give away a login.
    """

    def __init__(self, client: MlflowClient, run_id: str, uri: str) -> None:
        self._client = client
        self.run_id = run_id
        self.uri = None if _has_login(uri) else uri

    def start(self, name: str) -> None:
        """Say that it is running, and under which name."""
        self._client.update_run(self.run_id, status="RUNNING", name=name)

    def end(self, status: str) -> None:
        """Say that it has ended: FINISHED, FAILED or KILLED."""
        self._client.set_terminated(self.run_id, status)

    def log_settings(self, settings: dict[str, Any]) -> None:
        """Record nested settings as parameters with dotted names; values that are too long are cut."""
        flat = dict(_flat(settings))
        params = [Param(legal, str(flat[name])[:LONGEST_VALUE]) for name, legal in legal_names(flat).items()]
        for first in range(0, len(params), BATCH):
            self._client.log_batch(self.run_id, params=params[first : first + BATCH])

    def log_metrics(self, metrics: dict[str, float | None], step: int) -> None:
        """Record the metrics that have a value at a step."""
        now = get_current_time_millis()
        legal = legal_names(metrics)
        known = [Metric(legal[name], value, now, step) for name, value in metrics.items() if value is not None]
        self._client.log_batch(self.run_id, metrics=known)

    def set_tags(self, tags: dict[str, str]) -> None:
        """Record tags."""
        legal = legal_names(tags)
        self._client.log_batch(self.run_id, tags=[RunTag(legal[name], value) for name, value in tags.items()])

    def log_file(self, path: Path) -> None:
        """Record a file among the run's artifacts."""
        self._client.log_artifact(self.run_id, str(path))

    def log_model(self, folder: Path) -> None:
        """Record a model's folder; it is then found as ``runs:/<run id>/model``."""
        self._client.log_artifacts(self.run_id, str(folder), MODEL_FOLDER)


@contextmanager
def track(
    config: TrackingConfig, name: str, *, run_id: str | None = None, uri: str | None = None
) -> Iterator[TrackedRun]:
    """Record a run; on leaving, it is FINISHED, FAILED after an exception, KILLED after an interrupt.

    Args:
        config: experiment, run name and tags.
        name: the run's name where the configuration has none.
        run_id: a run to continue; by default the one that ``mlflow run`` started, or else a new one.
        uri: where the run to continue was begun; MLFLOW_TRACKING_URI, where it is set, counts for more.

    Raises:
        ModelError: the run to continue is not recorded there.
    """
    begun = run_id or os.environ.get("MLFLOW_RUN_ID")
    run = _begun_run(begun, _tracking_uri(uri)) if begun else _new_run(config, _tracking_uri())
    try:
        run.start(config.run_name or name)
        run.set_tags(config.tags)
        yield run
    except KeyboardInterrupt:
        _end(run, "KILLED", {})
        raise
    except BaseException as error:
        _end(run, "FAILED", {"error": _without_names(error)})
        raise
    run.end("FINISHED")


def legal_names(names: Iterable[str]) -> dict[str, str]:
    """The names under which MLflow takes metrics, parameters and tags: labels may be called what it refuses.

    What is neither letter, digit nor one of ``_-. :`` becomes ``_``; where two names come out as one, the later one
    gets a number.

    Example:
        >>> legal_names(["dice_tumor (core)", "dice_tumor [core]"])
        {'dice_tumor (core)': 'dice_tumor _core_', 'dice_tumor [core]': 'dice_tumor _core__2'}
    """
    legal: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^\w\-. :]", "_", name)[:LONGEST_NAME]
        numbered = (f"{plain}_{number}" for number in count(2))
        legal[name] = next(each for each in chain([plain], numbered) if each not in legal.values())
    return legal


def fetch_model(uri: str, folder: Path) -> Path:
    """Download a model that MLflow knows by ``runs:/ID/model``, ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.

    Returns:
        The model's folder, inside ``folder``.

    Raises:
        ModelError: MLflow does not know it.
    """
    tracking_uri = _tracking_uri()
    if _is_missing(tracking_uri):
        found = f"{uri}: there is no {tracking_uri}"
        raise ModelError("a model that MLflow knows", found, "Check the id and MLFLOW_TRACKING_URI.")
    client = _connect(tracking_uri)
    try:
        source = _registered_source(client, uri) if uri.startswith(REGISTERED) else uri
        return Path(download_artifacts(source, dst_path=str(folder), tracking_uri=tracking_uri))
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            "a model that MLflow knows", f"{uri}: {reason}", "Check the id and MLFLOW_TRACKING_URI."
        ) from error


def _without_names(error: BaseException) -> str:
    """What kind of error it was; its message can hold names of cases and paths, which can name a patient."""
    return f"{type(error).__name__}; the output of the command has its message"


def _registered_source(client: MlflowClient, uri: str) -> str:
    """Where a registered model lies; asked of this client, because MLflow itself would ask its global registry."""
    name, alias_given, alias = uri.removeprefix(REGISTERED).partition("@")
    if alias_given:
        version = client.get_model_version_by_alias(name, alias).version
    else:
        name, _, version = name.rpartition("/")
    return str(client.get_model_version_download_uri(name, version))


def _new_run(config: TrackingConfig, uri: str) -> TrackedRun:
    client = _connect(uri)
    run = client.create_run(_experiment_id(client, config, uri))
    return TrackedRun(client, str(run.info.run_id), uri)


def _begun_run(run_id: str, uri: str) -> TrackedRun:
    if _is_missing(uri):
        raise _no_such_run(run_id, uri)
    client = _connect(uri)
    try:
        stage = client.get_run(run_id).info.lifecycle_stage
    except MlflowException as error:
        if error.error_code not in NO_SUCH_RUN:
            raise
        raise _no_such_run(run_id, uri) from error
    if stage != "active":
        raise _no_such_run(run_id, uri)
    return TrackedRun(client, run_id, uri)


def _no_such_run(run_id: str, uri: str) -> ModelError:
    return ModelError(
        f"the MLflow run {run_id}, which is to go on",
        f"none, or a deleted one, in {urlsplit(uri).hostname if _has_login(uri) else uri}",
        "Set MLFLOW_TRACKING_URI to where the run was begun, or start it afresh.",
    )


def _end(run: TrackedRun, status: str, tags: dict[str, str]) -> None:
    """Record that a run has ended early. Whatever fails here must not take the place of what ended the run."""
    try:
        run.end(status)
        run.set_tags(tags)
    except Exception as error:
        log.warning("the run %s is %s, which MLflow could not record: %s", run.run_id, status, error)


def _tracking_uri(begun: str | None = None) -> str:
    """What MLFLOW_TRACKING_URI says, or else where a run was begun, or else a SQLite file in the working directory.

    It is made independent of the working directory.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or begun or f"{SQLITE}{DATABASE}"
    if not uri.startswith(SQLITE):
        return str(resolve_uri_if_local(uri))
    _, mark, options = uri.partition("?")
    return f"{SQLITE}{_database(uri)}{mark}{options}"


def _database(uri: str) -> Path:
    return Path(uri.removeprefix(SQLITE).partition("?")[0]).resolve()


def _is_missing(uri: str) -> bool:
    """Whether a SQLite file does not exist: to connect would be to make an empty one."""
    return uri.startswith(SQLITE) and not _database(uri).exists()


def _has_login(uri: str) -> bool:
    return "@" in urlsplit(uri).netloc


def _connect(uri: str) -> MlflowClient:
    """A client. A new SQLite file is set up by one process alone, because two that migrate it at once break it."""
    if not uri.startswith(SQLITE):
        return MlflowClient(uri)
    database = _database(uri)
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock"):
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def _experiment_id(client: MlflowClient, config: TrackingConfig, uri: str) -> str:
    if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return given
    local = (Path.cwd() / ARTIFACTS).as_uri() if uri.startswith(SQLITE) else None
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
