"""What each kind of record is in MLflow."""

import json
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking.multimedia import compress_image_size
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES, MLFLOW_RUN_NOTE
from PIL import Image

from pipeline.tracking.records import (
    AnyRecord,
    Failure,
    File,
    Metrics,
    Params,
    Picture,
    Registration,
    Status,
    Tags,
    UsedDataset,
)

PARAMS_A_REQUEST = 100
METRICS_A_REQUEST = 900
MODEL = "model"
"""Folder of the model among a run's artifacts, so that it is found as ``runs:/<run id>/model``."""
PICTURES = "images"
"""Folder in which MLflow's pages look for pictures of a series."""
ERROR = "error"
"""Tag with the reason of a failure, which is also the beginning of the description that MLflow's pages show first."""
FAILED, BEHIND = "**Failed.** ", "\n\n---\n\n"
"""What that beginning begins with, and what stands between it and the description that was there before."""


def leading_metrics(records: Sequence[AnyRecord]) -> list[Metrics]:
    """The records of metrics that come first and fit into one request."""
    leading: list[Metrics] = []
    values = 0
    for record in records:
        if not isinstance(record, Metrics) or values + len(record.values) > METRICS_A_REQUEST:
            break
        leading.append(record)
        values += len(record.values)
    return leading


def send_metrics(client: MlflowClient, run_id: str, records: Sequence[Metrics]) -> None:
    """Send the metrics of several steps at once."""
    metrics = [
        Metric(name, value, record.time_ms, record.step) for record in records for name, value in record.values.items()
    ]
    client.log_batch(run_id, metrics=metrics)


def send(client: MlflowClient, run_id: str, root: Path, *, record: AnyRecord) -> None:
    """Send a record.

    Args:
        client: of the store.
        run_id: of the run.
        root: the folder that the paths in records start from.
        record: what is sent.

    Raises:
        MlflowException, OSError: it has not arrived; see `store.is_refused`.
    """
    match record:
        case Metrics():
            send_metrics(client, run_id, [record])
        case Params():
            params = [Param(name, value) for name, value in record.values.items()]
            for first in range(0, len(params), PARAMS_A_REQUEST):
                client.log_batch(run_id, params=params[first : first + PARAMS_A_REQUEST])
        case Tags():
            _send_tags(client, run_id, record)
        case Failure():
            _send_failure(client, run_id, record)
        case File():
            _send_file(client, run_id, root / record.path, folder=record.folder)
        case Picture():
            _send_picture(client, run_id, root / record.path, record=record)
        case UsedDataset():
            client.log_inputs(run_id, [_dataset_input(record)])
        case Registration():
            _register(client, run_id, record)
        case Status():
            _send_status(client, run_id, record)
        case _:
            assert_never(record)


def _send_tags(client: MlflowClient, run_id: str, record: Tags) -> None:
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in record.values.items() if value is not None])
    for name in (name for name, value in record.values.items() if value is None):
        _delete_tag(client, run_id, name)


def _delete_tag(client: MlflowClient, run_id: str, name: str) -> None:
    try:
        client.delete_tag(run_id, name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # there is none to remove
            raise


def _send_failure(client: MlflowClient, run_id: str, record: Failure) -> None:
    before = client.get_run(run_id).data.tags.get(MLFLOW_RUN_NOTE, "")
    own = before.partition(BEHIND)[2] if before.startswith(FAILED) else before
    if record.reason is not None:
        note = f"{FAILED}{record.reason}{BEHIND if own else ''}{own}"
        client.log_batch(run_id, tags=[RunTag(ERROR, record.reason), RunTag(MLFLOW_RUN_NOTE, note)])
        return
    _delete_tag(client, run_id, ERROR)
    if own:
        client.set_tag(run_id, MLFLOW_RUN_NOTE, own)
    else:
        _delete_tag(client, run_id, MLFLOW_RUN_NOTE)


def _send_file(client: MlflowClient, run_id: str, path: Path, *, folder: str) -> None:
    if not path.exists():
        raise FileNotFoundError(f"{path.name} is not there any more")
    if path.is_dir():
        client.log_artifacts(run_id, str(path), folder or None)
    else:
        client.log_artifact(run_id, str(path), folder or None)


def _send_picture(client: MlflowClient, run_id: str, path: Path, *, record: Picture) -> None:
    """As `MlflowClient.log_image`, which would add another picture where one is sent again."""
    same = uuid.uuid5(uuid.NAMESPACE_OID, f"{run_id} {record.key} {record.step}")
    name = f"{record.key}+step+{record.step}+timestamp+{record.time_ms}+{same}"
    with Image.open(path) as opened, tempfile.TemporaryDirectory() as folder:
        picture = opened.convert("RGB")
        picture.save(Path(folder) / f"{name}.png")
        compress_image_size(picture).save(Path(folder) / f"{name}+compressed.webp")
        client.log_artifacts(run_id, folder, PICTURES)
    client.set_tag(run_id, MLFLOW_LOGGED_IMAGES, True)


def _dataset_input(record: UsedDataset) -> DatasetInput:
    dataset = Dataset(
        name=record.name,
        digest=record.digest,
        source_type="local",
        source=json.dumps({"uri": record.source}),
        profile=json.dumps({"cases": record.cases}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", record.context)])


def _register(client: MlflowClient, run_id: str, record: Registration) -> None:
    """Make the run's model a version of the registered model, unless it is one, and let the alias point to it."""
    try:
        client.create_registered_model(record.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = [each for each in client.search_model_versions(f"run_id = '{run_id}'") if each.name == record.name]
    version = versions[0] if versions else client.create_model_version(record.name, f"runs:/{run_id}/{MODEL}", run_id)
    if record.alias is not None:
        client.set_registered_model_alias(record.name, record.alias, version.version)


def _send_status(client: MlflowClient, run_id: str, record: Status) -> None:
    if record.status == "RUNNING":
        client.update_run(run_id, status="RUNNING")
    else:
        client.set_terminated(run_id, record.status, record.time_ms)
