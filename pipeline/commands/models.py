"""Finding the model that a command was given."""

import tempfile
import zipfile
import zlib
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.manifest import FILE_NAME
from pipeline.model import WEIGHTS, Model, load_model
from pipeline.tracking.address import is_in_use

UNREADABLE_ZIP = (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What zipfile raises: no archive, damaged or cut off, a compression that it does not know, encrypted."""


def open_model(given: str) -> Model:
    """Load a model.

    Args:
        given: a folder, a .zip of one, ``runs:/ID/model`` or ``models:/NAME@ALIAS``.

    Raises:
        ModelError: there is no model there, or it cannot be loaded.
    """
    if is_tracked(given):
        return _load_tracked(given)
    path = Path(given)
    if path.suffix.lower() == ".zip" and not path.is_dir():
        return _load_zip(path)
    return load_model(path)


def is_tracked(given: str) -> bool:
    """Whether it is one that MLflow keeps."""
    return given.startswith(("runs:/", "models:/"))


def tracks_predictions(given: str) -> bool:
    """Whether predictions of a model are recorded unasked: where MLflow is in use, so that no clinic gets a database.

    Args:
        given: the model as the user named it.
    """
    return is_tracked(given) or is_in_use()


def _load_tracked(uri: str) -> Model:
    from pipeline.tracking.models import fetch_model  # mlflow takes seconds to import, and most models are folders

    with tempfile.TemporaryDirectory(prefix="medseg-model-") as folder:
        return load_model(fetch_model(uri, Path(folder)))


def _load_zip(path: Path) -> Model:
    with tempfile.TemporaryDirectory(prefix="medseg-model-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                for name in _members(archive, path):
                    (Path(folder) / Path(name).name).write_bytes(archive.read(name))
        except UNREADABLE_ZIP as error:
            raise ModelError("a .zip of a model's folder", f"{path}: {error}", "Export the model again.") from error
        return load_model(Path(folder))


def _members(archive: zipfile.ZipFile, path: Path) -> list[str]:
    """The two files of a model; anything else in the archive is left there."""
    names = [name for name in archive.namelist() if Path(name).name in (FILE_NAME, WEIGHTS)]
    if len(names) != 2:
        raise ModelError(f"a .zip with {FILE_NAME} and {WEIGHTS}", f"others in {path}", "Zip the model's folder.")
    return names
