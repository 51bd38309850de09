"""Models that MLflow keeps."""

import json
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from pandas import DataFrame

from pipeline import __version__
from pipeline.errors import ModelError
from pipeline.tracking import store
from pipeline.tracking.address import is_missing, reason_in_short, tracking_uri
from pipeline.tracking.sending import MODEL

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

RUNS, REGISTERED = "runs:/", "models:/"
LOADER = "pipeline.serving"
"""Module whose ``_load_pyfunc`` MLflow calls; named here and imported by MLflow alone."""
HISTORY = "mlflow.log-model.history"
"""Tag from which MLflow's pages know that a run has a model."""


def fetch_model(uri: str, folder: Path) -> Path:
    """Download a model that MLflow knows by ``runs:/ID/model``, ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.

    Returns:
        The model's folder, inside ``folder``.

    Raises:
        ModelError: MLflow does not know it.
    """
    with _asking("a model that MLflow knows", uri) as client:
        source = _registered_source(client, uri) if uri.startswith(REGISTERED) else _of_run(client, uri)
        return Path(download_artifacts(source, dst_path=str(folder), tracking_uri=client.tracking_uri))


def fetch_files(uri: str, names: Iterable[str], folder: Path) -> None:
    """Download files of an evaluation that MLflow knows by ``runs:/ID``.

    Raises:
        ModelError: MLflow does not know the run, or has not all of the files.
    """
    with _asking("an evaluation that MLflow knows by runs:/ID", uri) as client:
        run_id = _of_run(client, uri).removeprefix(RUNS).strip("/")
        has = {item.path for item in client.list_artifacts(run_id)}
        for name in names:
            if name not in has:
                found = f"none in {uri}: it is no evaluation, or one whose cases were not to be named"
                raise ModelError(f"{name} of an evaluation", found, "Give the run of an evaluation, or its folder.")
            client.download_artifacts(run_id, name, str(folder))


@contextmanager
def _asking(expected: str, uri: str) -> Iterator[MlflowClient]:
    """Ask MLflow for something; what it does not know is the user's error."""
    address, remedy = tracking_uri(), "Check the id and MLFLOW_TRACKING_URI."
    if is_missing(address):
        raise ModelError(expected, f"{uri}: there is no {address}", remedy)
    try:
        yield store.connect(address)
    except (MlflowException, OSError) as error:
        raise ModelError(expected, f"{uri}: {reason_in_short(error).rstrip('.')}", remedy) from error


def _of_run(client: MlflowClient, uri: str) -> str:
    """``runs:/ID/...`` with MLflow's id, where it was given the run's own, which training prints without a server."""
    given, slash, rest = uri.removeprefix(RUNS).partition("/")
    run = store.find_by_own_id(client, given)
    return uri if run is None else f"{RUNS}{run.info.run_id}{slash}{rest}"


def _registered_source(client: MlflowClient, uri: str) -> str:
    """Where a registered model lies; asked of this client, because MLflow itself would ask its global registry."""
    name, alias_given, alias = uri.removeprefix(REGISTERED).partition("@")
    if alias_given:
        version = client.get_model_version_by_alias(name, alias).version
    else:
        name, _, version = name.rpartition("/")
        if not name:
            remedy = "Give models:/NAME@ALIAS or models:/NAME/VERSION."
            raise ModelError("a registered model by its alias or version", uri, remedy)
    return str(client.get_model_version_download_uri(name, version))


def write_pyfunc(folder: Path, run_id: str | None) -> str:
    """Write what makes a model's folder one that ``mlflow.pyfunc.load_model`` takes: MLmodel, requirements, example.

    The model's own two files are not among it, and neither is any code: loading it imports this package, which must be
    installed there.

    Args:
        folder: a new folder, whose files go beside model.json.
        run_id: the run that trained the model.

    Returns:
        The value of the tag `HISTORY`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, about its own type hints and its own use of pandas
        import mlflow.pyfunc  # seconds to import
        from mlflow.models import Model

        model = Model(artifact_path=MODEL, run_id=run_id)
        mlflow.pyfunc.save_model(
            path=str(folder),
            loader_module=LOADER,
            mlflow_model=model,
            signature=_signature(),
            input_example=DataFrame({"path": ["scan.nii.gz"]}),
            pip_requirements=[f"medseg-pipeline=={__version__}"],
        )
    return json.dumps([model.to_dict()])


def _signature() -> "ModelSignature":
    """Paths go in; masks come out, (I, J, K) as nested lists where they travel as JSON."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Schema, TensorSpec

    mask = Array(Array(Array(DataType.long)))
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string, "path"),
        ColSpec(mask, "mask"),
        ColSpec(DataType.string, "reason"),
        ColSpec(DataType.string, "review"),
    ]
    return ModelSignature(Schema([ColSpec(DataType.string, "path")]), Schema(outputs))
