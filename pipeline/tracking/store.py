"""Where runs are kept, and how one comes into being there.

The client is used with an explicit run id and no global state, so that runs started side by side do not mix.
"""

import logging

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from PIL import UnidentifiedImageError

from pipeline.errors import ModelError
from pipeline.tracking.address import SQLITE, database, is_missing, without_login
from pipeline.tracking.identity import Identity, Wanted

ARTIFACTS = "mlartifacts"
"""Folder beside a SQLite file that holds the files of its runs."""
OWN_ID = "medseg.run"
"""Tag by which a run is found again whose id in MLflow was never written down."""
CLAIM = "medseg.process"
"""Parameter that the first process sets of a run that was handed to it; MLflow lets no other change it."""
NO_SUCH_RUN = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
"""What MLflow calls an id that it has no run for, and one that no run can have."""
REFUSED = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"}
"""What will be refused again however often it is tried."""

for _noisy in ("alembic", "mlflow.pyfunc", "mlflow.store.db.utils"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


def is_refused(error: Exception) -> bool:
    """Whether MLflow will never take it, unlike an error that passes once the server, network or disk is there."""
    if isinstance(error, FileNotFoundError | UnidentifiedImageError):
        return True
    return isinstance(error, MlflowException) and error.error_code in REFUSED


def connect_for(identity: Identity) -> MlflowClient:
    """A client of the store that has a run or is to have it.

    Raises:
        ModelError: the run is to go on, and there is no store that could have it.
    """
    begun = identity.run_id or identity.wanted.handed_over
    if begun is not None and is_missing(identity.uri):
        raise no_such_run(begun, identity.uri)
    return connect(identity.uri)


def connect(uri: str) -> MlflowClient:
    """A client. A new SQLite file is set up by one process alone, because two that migrate it at once break it."""
    if not uri.startswith(SQLITE):
        return MlflowClient(uri)
    path = database(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def establish(client: MlflowClient, identity: Identity) -> str:
    """The id of the run in MLflow: of the one to go on with, of the one that was handed over, or of a new one.

    It may be called again after any failure: what an earlier call made is found by the run's own id.

    Raises:
        ModelError: the run to go on with is not there.
    """
    if identity.run_id is not None:
        return _existing(client, identity.run_id, identity.uri)
    wanted = identity.wanted
    parent = _find(client, wanted.parent_id)
    if wanted.handed_over is not None:
        handed_over = _existing(client, wanted.handed_over, identity.uri)
        if _claim(client, handed_over, identity.own_id):
            if parent is not None and parent.info.run_id != handed_over:
                client.set_tag(handed_over, "mlflow.parentRunId", parent.info.run_id)
            return handed_over
        parent = parent or client.get_run(handed_over)
    experiment = parent.info.experiment_id if parent is not None else _experiment_id(client, wanted, identity.uri)
    made = find_by_own_id(client, identity.own_id)
    return str(made.info.run_id) if made is not None else _make(client, experiment, identity, parent=parent)


def _existing(client: MlflowClient, run_id: str, uri: str) -> str:
    if _find(client, run_id) is None:
        raise no_such_run(run_id, uri)
    return run_id


def no_such_run(run_id: str, uri: str) -> ModelError:
    """What to say where a run that is to go on is not known."""
    return ModelError(
        f"the MLflow run {run_id}, which is to go on",
        f"none, or a deleted one, in {without_login(uri)}",
        "Set MLFLOW_TRACKING_URI to where the run was begun, or start it afresh.",
    )


def _find(client: MlflowClient, run_id: str | None) -> Run | None:
    if run_id is None:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in NO_SUCH_RUN:
            raise
        return find_by_own_id(client, run_id)
    return run if run.info.lifecycle_stage == "active" else None


def find_by_own_id(client: MlflowClient, own_id: str) -> Run | None:
    """The run that has this id of its own beside MLflow's; None where there is none."""
    if not own_id.isalnum():
        return None
    experiments = [each.experiment_id for each in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`{OWN_ID}` = '{own_id}'", max_results=1)
    return found[0] if found else None


def _claim(client: MlflowClient, run_id: str, own_id: str) -> bool:
    """Take the run that `mlflow run` handed over, unless another process that inherited it has done so."""
    try:
        client.log_param(run_id, CLAIM, own_id)
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        return False
    return True


def _make(client: MlflowClient, experiment: str, identity: Identity, *, parent: Run | None) -> str:
    wanted = identity.wanted
    tags = {OWN_ID: identity.own_id} | ({"mlflow.parentRunId": parent.info.run_id} if parent is not None else {})
    run = client.create_run(experiment, start_time=wanted.begun_ms, tags=tags, run_name=wanted.name)
    return str(run.info.run_id)


def _experiment_id(client: MlflowClient, wanted: Wanted, uri: str) -> str:
    if wanted.experiment_id is not None:
        return wanted.experiment_id
    found = client.get_experiment_by_name(wanted.experiment)
    if found is not None:
        return str(found.experiment_id)
    local = (database(uri).parent / ARTIFACTS).as_uri() if uri.startswith(SQLITE) else None
    try:
        return str(client.create_experiment(wanted.experiment, artifact_location=local))
    except MlflowException:
        found = client.get_experiment_by_name(wanted.experiment)
        if found is None:
            raise
        return str(found.experiment_id)
