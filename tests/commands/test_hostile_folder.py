"""Every hostile file there is, in one folder: hostile_folder.csv says what becomes of each.

Written anew by ``python -m tests.commands.test_hostile_folder FOLDER MODEL``, and then read line by line.
"""

import csv
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from pipeline.commands.predict import Predictions, predict
from pipeline.inference.channels import ANY_FILE, find_cases
from pipeline.model import load_model
from tests.conftest import RealData, WriteModel

TABLE = Path(__file__).with_name("hostile_folder.csv")
COLUMNS = ["case", "status", "reason"]
REASON_LETTERS = 70
"""Of each reason: enough to tell it from others."""


def run(model: Path, source: Path, output: Path) -> Predictions:
    loaded = load_model(model)
    config = loaded.manifest.inference.model_copy(update={"readers": 2, "viewer_pages": False})
    return predict(loaded, source, output, config=config, console=Console(quiet=True))


def verdicts(predictions: Predictions) -> list[dict[str, str]]:
    rows = sorted(predictions.rows, key=lambda row: str(row["case"]))
    return [{**{name: str(row[name]) for name in COLUMNS}, "reason": row["reason"][:REASON_LETTERS]} for row in rows]


def test_every_file_gets_its_mask_or_its_reason(write_model: WriteModel, real_data: RealData, tmp_path: Path) -> None:
    source = real_data("hostile")
    found = verdicts(run(write_model(patch_size=(128, 128, 128)), source, tmp_path / "out"))
    with TABLE.open(newline="", encoding="utf-8") as stream:
        expected = list(csv.DictReader(stream))
    assert found == expected
    folders = sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert folders == sorted(row["case"] for row in expected if row["status"] in ("ok", "review"))


def test_no_file_is_left_out_and_none_is_counted_twice(real_data: RealData) -> None:
    source = real_data("hostile")
    seen = [path for entry in find_cases(source, None, ANY_FILE) for path in entry.paths]
    files = [path for path in source.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(source))]
    assert sorted(seen) == sorted(files)


def _is_hidden(below: Path) -> bool:
    return any(part.startswith(".") for part in below.parts)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, TABLE.open("w", newline="", encoding="utf-8") as written:
        writer = csv.DictWriter(written, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(verdicts(run(Path(sys.argv[2]), Path(sys.argv[1]), Path(folder) / "out")))
