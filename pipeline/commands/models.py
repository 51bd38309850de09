"""Finding the model that a command was given."""

import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.overrides import is_tracked
from pipeline.errors import ModelError
from pipeline.manifest import ESTIMATE, FILE_NAME, GATE, WEIGHTS, Manifest, read_manifest
from pipeline.tracking.address import is_in_use

if TYPE_CHECKING:
    from pipeline.model import AutoencoderModel, Model

OPTIONAL = (GATE, ESTIMATE)
"""Files that a model may have besides."""
UNREADABLE_ZIP = (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What zipfile raises: no archive, damaged or cut off, a compression that it does not know, encrypted."""


def open_model(given: str) -> "Model":
    """Load a model.

    Args:
        given: a folder, a .zip of one, ``runs:/ID/model`` or ``models:/NAME@ALIAS``.

    Raises:
        ModelError: there is no model there, or it cannot be loaded.
    """
    from pipeline.model import load_model  # torch takes seconds to import

    with local_model(given) as folder:
        return load_model(folder)


def open_any_model(given: str) -> "Model | AutoencoderModel":
    """Load a model, whatever it was trained for; as `open_model`."""
    from pipeline.model import load_any_model

    with local_model(given) as folder:
        return load_any_model(folder)


def open_autoencoder(given: str) -> "AutoencoderModel":
    """Load an autoencoder; as `open_model`."""
    from pipeline.model import load_autoencoder

    with local_model(given) as folder:
        return load_autoencoder(folder)


def open_manifest(given: str) -> Manifest:
    """What a model says of itself, without its weights; as `open_model`."""
    with local_model(given) as folder:
        return read_manifest(folder)


@contextmanager
def local_model(given: str) -> Iterator[Path]:
    """The folder of a model while the block runs; what is no folder is brought into a temporary one.

    Raises:
        ModelError: there is no model there.
    """
    path = Path(given)
    is_zip = path.suffix.lower() == ".zip" and not path.is_dir()
    if not is_zip and not is_tracked(given):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="medseg-model-") as folder:
        yield _unpack(path, Path(folder)) if is_zip else _fetch(given, Path(folder))


def tracks_predictions(given: str) -> bool:
    """Whether predictions of a model are recorded unasked: where MLflow is in use, so that no clinic gets a database.

    Args:
        given: the model as the user named it.
    """
    return is_tracked(given) or is_in_use()


def _fetch(uri: str, folder: Path) -> Path:
    from pipeline.tracking.models import fetch_model  # mlflow takes seconds to import, and most models are folders

    return fetch_model(uri, folder)


def _unpack(path: Path, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in _members(archive, path):
                (folder / Path(name).name).write_bytes(archive.read(name))
    except UNREADABLE_ZIP as error:
        raise ModelError("a .zip of a model's folder", f"{path}: {error}", "Export the model again.") from error
    return folder


def _members(archive: zipfile.ZipFile, path: Path) -> list[str]:
    """The files of a model; anything else in the archive is left there."""
    names = [name for name in archive.namelist() if Path(name).name in (FILE_NAME, WEIGHTS, *OPTIONAL)]
    files = sorted(Path(name).name for name in names)
    needed, further = ([name for name in files if (name in OPTIONAL) == optional] for optional in (False, True))
    if needed != [FILE_NAME, WEIGHTS] or len(set(further)) < len(further):
        raise ModelError(f"a .zip with {FILE_NAME} and {WEIGHTS}", f"others in {path}", "Zip the model's folder.")
    return names
