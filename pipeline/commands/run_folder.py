"""The folder of a training run: what is written there, and how a resumed run finds it again.

runs/<config name>/<MLflow run id>/
    config.yaml       resolved: every setting, and what was chosen by measuring
    run.json          MLflow run id, and where MLflow keeps it
    split.json        who is trained, validated and tested on
    checks.txt        what the integrity check found
    history.csv       a row an epoch
    last.ckpt         the state after the newest epoch
    best.ckpt         the state after the epoch with the best validation Dice
    model/            the model: model.json and weights.safetensors
    origin/           model.json of the model whose weights the run began with, where there is one
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.config.load import Config, dump_yaml, load_config
from pipeline.errors import ModelError
from pipeline.files import write_csv, write_json, write_text
from pipeline.wording import enumerate_names

HISTORY = ["epoch", "loss", "learning_rate", "dice", "seconds"]


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
        return self.root / "run.json"

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
    def model(self) -> Path:
        """The model's folder."""
        return self.root / "model"


@dataclass(frozen=True)
class Identity:
    """A run in MLflow.

    Attributes:
        run_id: its id.
        tracking_uri: the server or store that keeps it; None where that is not to be written down.
    """

    run_id: str
    tracking_uri: str | None


def begin(folder: RunFolder, config: Config, identity: Identity) -> None:
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
    write_json(folder.identity, asdict(identity))


def save_config(folder: RunFolder, config: Config) -> None:
    """Write the resolved configuration."""
    write_text(folder.config, dump_yaml(config))


def reopen(folder: RunFolder) -> tuple[Config, Identity]:
    """The configuration of a run that was begun, and the run in MLflow.

    Raises:
        ModelError: the folder holds no run.
    """
    try:
        written = json.loads(folder.identity.read_text(encoding="utf-8"))
        identity = Identity(str(written["run_id"]), written.get("tracking_uri"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            "the folder of a run, with run.json", f"none in {folder.root}", "Give the RUN_DIR that training named."
        ) from error
    return load_config(folder.config, []), identity


def append_history(folder: RunFolder, row: Mapping[str, float | None]) -> None:
    """Add an epoch; its row and later ones of an earlier try, which a resumed run does again, are replaced."""
    rows: list[Mapping[str, object]] = []
    if folder.history.exists():
        with folder.history.open(newline="", encoding="utf-8") as stream:
            rows = [old for old in csv.DictReader(stream) if int(old["epoch"]) < int(row["epoch"] or 0)]
    write_csv(folder.history, HISTORY, [*rows, row])
