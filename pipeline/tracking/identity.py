"""Which run it is, in MLflow and on disk."""

import json
import os
import time
import uuid
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.files import write_json
from pipeline.tracking.address import tracking_uri

FOLDER = ".tracking"
"""Folder beside a run's results that holds what is on its way to MLflow."""
IDENTITY = "run.json"


@dataclass(frozen=True)
class Wanted:
    """What a new run is to be.

    Attributes:
        experiment: its experiment, where no parent has one.
        name: its name.
        parent_id: the run that it hangs on, where that is known to the same store.
        experiment_id: the experiment by its id, which counts for more than the name.
        handed_over: the run that ``mlflow run`` made for it.
        begun_ms: when it began.
    """

    experiment: str
    name: str
    parent_id: str | None = None
    experiment_id: str | None = field(default_factory=lambda: os.environ.get("MLFLOW_EXPERIMENT_ID"))
    handed_over: str | None = field(default_factory=lambda: os.environ.get("MLFLOW_RUN_ID"))
    begun_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)


@dataclass(frozen=True)
class Identity:
    """A run.

    Attributes:
        uri: the tracking server or store, independent of the working directory.
        wanted: what it is to be, where MLflow does not know it yet.
        run_id: its id in MLflow; None until a server has given it one.
        own_id: its id before that, by which it is found again there.
    """

    uri: str
    wanted: Wanted
    run_id: str | None = None
    own_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def any_id(self) -> str:
        """A name for the run that does not need a server."""
        return self.run_id or self.own_id


@dataclass(frozen=True)
class Place:
    """Where a run's files are.

    Attributes:
        root: the folder of its results.
        outbox: the folder of what has been recorded.
        identity: the file that says which run it is.
    """

    root: Path
    outbox: Path
    identity: Path

    @staticmethod
    def of_results(root: Path, own_id: str) -> "Place":
        """The place of an evaluation or of predictions: gone once MLflow has everything, and each time another."""
        outbox = root / FOLDER / own_id
        return Place(root, outbox, outbox / IDENTITY)

    @staticmethod
    def of_training(root: Path) -> "Place":
        """The place of a training run, which stays."""
        return Place(root, root / FOLDER, root / IDENTITY)

    @staticmethod
    def find_all(root: Path) -> "list[Place]":
        """The places in a folder."""
        training = Place.of_training(root)
        results = [Place.of_results(root, path.parent.name) for path in sorted(training.outbox.glob(f"*/{IDENTITY}"))]
        return [*([training] if training.identity.exists() else []), *results]

    @property
    def stays(self) -> bool:
        """Whether the run can go on later, so that what has been recorded must be known then."""
        return self.identity.parent == self.root


def write_identity(path: Path, identity: Identity, *, keep_uri: bool) -> None:
    """Write it down; an address with a login is left out."""
    uri, wanted = identity.uri if keep_uri else None, asdict(identity.wanted)
    content = {"run_id": identity.run_id, "own_id": identity.own_id, "tracking_uri": uri, "wanted": wanted}
    write_json(path, content)


def read_identity(path: Path) -> Identity:
    """The run of the file that `write_identity` wrote; MLFLOW_TRACKING_URI, where it is set, counts for more.

    Raises:
        ModelError: there is none.
    """
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        uri, wanted = tracking_uri(written["tracking_uri"]), Wanted(**written["wanted"])
        return Identity(uri, wanted, written["run_id"], str(written["own_id"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        found, remedy = f"none in {path.parent}", "Give the RUN_DIR that training named."
        raise ModelError(f"the folder of a run, with {path.name}", found, remedy) from error


def with_run_id(identity: Identity, run_id: str) -> Identity:
    """The same run, now known to MLflow."""
    return replace(identity, run_id=run_id)
