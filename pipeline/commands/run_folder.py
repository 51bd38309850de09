"""The folder of a training run: what is written there, and how a resumed run finds it again.

runs/<config name>/<MLflow run id>/
    config.yaml       resolved: every setting, and what was chosen by measuring
    run.json          MLflow run id, and where MLflow keeps it
    split.json        who is trained, validated and tested on
    checks.txt        what the integrity check found
    history.csv       a row an epoch; of an autoencoder with other columns
    validation.csv    a row an epoch, validation case and label; of a network that segments
    last.ckpt         the state after the newest epoch; last.previous.ckpt is the one before it
    best.ckpt         the state after the epoch with the best validation Dice; best.previous.ckpt likewise
    figures/          augmented patches, validation cases over time, learning curves
    .tracking/        what has been recorded, and how much of it MLflow has
    model/            the model: model.json and weights.safetensors
    origin/           model.json of the model whose weights the run began with, where there is one, and layers.txt:
                      which of them it took over
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from pipeline.config.experiment import Experiment
from pipeline.config.load import dump_yaml
from pipeline.errors import ModelError
from pipeline.files import PARTIAL, write_csv, write_text
from pipeline.tracking.identity import Identity, Place, read_identity
from pipeline.wording import enumerate_names

E = TypeVar("E", bound=Experiment)
HISTORY = ["epoch", "loss", "learning_rate", "dice", "seconds"]
VALIDATION = ["epoch", "case", "label", "dice"]


@dataclass(frozen=True)
class RunFolder:
    """Paths in a run's folder."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.yaml"

    @property
    def identity(self) -> Path:
        """The run in MLflow."""
        return self.place.identity

    @property
    def place(self) -> Place:
        """Where the run's records are kept until MLflow has them."""
        return Place.of_training(self.root)

    @property
    def figures(self) -> Path:
        """The folder of pictures."""
        return self.root / "figures"

    @property
    def validation(self) -> Path:
        """A row an epoch, case and label."""
        return self.root / "validation.csv"

    @property
    def split(self) -> Path:
        """The split."""
        return self.root / "split.json"

    @property
    def checks(self) -> Path:
        """What the integrity check found."""
        return self.root / "checks.txt"

    @property
    def history(self) -> Path:
        """A row an epoch."""
        return self.root / "history.csv"

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.root / "last.ckpt"

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation Dice."""
        return self.root / "best.ckpt"

    @property
    def origin(self) -> Path:
        """The folder of the manifest of network.init_from."""
        return self.root / "origin"

    @property
    def taken_over(self) -> Path:
        """Which weights the run began with."""
        return self.origin / "layers.txt"

    @property
    def model(self) -> Path:
        """The model's folder."""
        return self.root / "model"


@contextmanager
def locked(place: Place) -> Iterator[None]:
    """Keep other processes from the same run; whatever ends this process gives it free.

    Raises:
        ModelError: another process trains it or sends its records.
        OSError: the folder cannot be written to.
    """
    place.outbox.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place.outbox / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ModelError(
            "a run that no other process is working on",
            f"one that is being trained, recorded or sent in {place.root}",
            "Wait for it to end, or stop it.",
        ) from error
    try:
        yield
    finally:
        lock.release()


def begin(folder: RunFolder, config: Experiment) -> None:
    """Write what a resumed run needs to find first.

    Raises:
        ModelError: the folder holds another run, or what is left of one: a new run would go on from its checkpoint.
    """
    left = [path for path in (folder.identity, folder.split, folder.history, folder.last, folder.best) if path.exists()]
    if left:
        raise ModelError(
            "a folder for a new run without files of another",
            f"{enumerate_names(path.name for path in left)} in {folder.root}",
            "Choose another -o, or continue the run with --resume.",
        )
    save_config(folder, config)


def save_config(folder: RunFolder, config: Experiment) -> None:
    """Write the resolved configuration."""
    write_text(folder.config, dump_yaml(config))


def reopen(folder: RunFolder, read: Callable[[Path, list[str]], E]) -> tuple[E, Identity]:
    """The configuration of a run that was begun, and the run in MLflow.

    Args:
        folder: the run's.
        read: a configuration of its kind.

    Raises:
        ModelError: the folder holds no run.
        ConfigError: it holds one of another kind.
    """
    identity = read_identity(folder.identity)
    return read(folder.config, []), identity


def remove_partial(folder: RunFolder) -> None:
    """Remove what was being written when the run was interrupted."""
    for path in folder.root.rglob(f"{PARTIAL}*"):
        path.unlink(missing_ok=True)


def append_rows(path: Path, columns: list[str], rows: Sequence[Mapping[str, object]], *, epoch: int) -> None:
    """Add the rows of an epoch to a table; those of it and of later ones, which a resumed run does again, go first.

    Args:
        path: the table; it has a column ``epoch``.
        columns: its columns.
        rows: what is added.
        epoch: which the rows belong to.
    """
    kept = [row for row in read_rows(path) if int(row["epoch"]) < epoch]
    write_csv(path, columns, [*kept, *rows])


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table; none where there is none yet."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
