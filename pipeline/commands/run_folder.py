"""The folder of a training run: what is written there, and how a resumed run finds it again.

runs/<config name>/<MLflow run id>/
    config.yaml       resolved: every setting, and what was chosen by measuring
    run.json          MLflow run id
    split.json        who is trained, validated and tested on
    checks.txt        what the integrity check found
    history.csv       a row an epoch
    last.ckpt         the state after the newest epoch
    best.ckpt         the state after the epoch with the best validation Dice
    model/            the model: model.json and weights.safetensors
"""

import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.load import Config, dump_yaml, load_config
from pipeline.errors import ModelError
from pipeline.files import write_json, write_text
from pipeline.training.state import BEST, LAST


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
        """The MLflow run id."""
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
        return self.root / LAST

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation Dice."""
        return self.root / BEST

    @property
    def model(self) -> Path:
        """The model's folder."""
        return self.root / "model"


def begin(folder: RunFolder, config: Config, run_id: str) -> None:
    """Write what a resumed run needs to find first.

    Raises:
        ModelError: the folder holds another run.
    """
    if folder.identity.exists():
        raise ModelError(
            "an empty folder for a new run",
            f"a run in {folder.root}",
            "Choose another -o, or continue it with --resume.",
        )
    save_config(folder, config)
    write_json(folder.identity, {"run_id": run_id})


def save_config(folder: RunFolder, config: Config) -> None:
    """Write the resolved configuration."""
    write_text(folder.config, dump_yaml(config))


def reopen(folder: RunFolder) -> tuple[Config, str]:
    """The configuration and the MLflow run id of a run that was begun.

    Raises:
        ModelError: the folder holds no run.
    """
    try:
        run_id = str(json.loads(folder.identity.read_text(encoding="utf-8"))["run_id"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            "the folder of a run, with run.json", f"none in {folder.root}", "Give the RUN_DIR that training named."
        ) from error
    return load_config(folder.config, []), run_id
