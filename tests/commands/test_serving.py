"""The model behind mlflow.pyfunc, in a process that has nothing of the training."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nibabel.loadsave import load
from rich.console import Console

from pipeline.commands.predict import predict
from pipeline.commands.train import train
from pipeline.model import load_model
from tests.commands.conftest import SAMPLES, settings

pytestmark = pytest.mark.usefixtures("tracked_here")
SCRIPT = """
import json, sys
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
rows = model.predict([{"path": path} for path in sys.argv[2:]])
rows["mask"] = [None if mask is None else mask.tolist() for mask in rows["mask"]]
training = ("pipeline.training", "pipeline.samples", "pipeline.augmentation", "pipeline.commands", "monai")
print(json.dumps({
    "rows": rows.to_dict("records"),
    "loaded": [name for name in sys.modules if name.startswith(training)],
    "example": model.input_example.to_dict("list"),
    "inputs": model.metadata.signature.inputs.to_dict(),
}))
"""


def test_a_model_of_mlflow_gives_the_masks_of_predict_without_the_training_code_and_without_pickles(
    dataset: Path, tmp_path: Path
) -> None:
    quiet = Console(quiet=True)
    run = train(settings(dataset, "tracking.register_as=shapes", "tracking.alias=best"), None, quiet)
    scans = sorted((SAMPLES / "imagesTs").iterdir())[:2]
    model = load_model(run.model)
    for scan in scans:
        predict(model, scan, tmp_path / "masks", config=model.manifest.inference, console=quiet)
    expected = [np.asarray(load(path).dataobj) for path in sorted((tmp_path / "masks").glob("*/mask.nii.gz"))]  # type: ignore[attr-defined]
    damaged = tmp_path / "damaged.nii.gz"
    damaged.write_bytes(b"nothing")
    for uri in (f"runs:/{run.run_id}/model", "models:/shapes@best", "models:/shapes/1"):
        answer = ask(uri, [*scans, damaged])
        for row, scan, mask in zip(answer["rows"][:2], scans, expected, strict=True):
            assert row["path"] == str(scan)
            assert np.array_equal(np.array(row["mask"]), mask)
            assert row["review"] == ""  # five samples are too few for a gate
        assert answer["rows"][2]["mask"] is None
        assert answer["rows"][2]["reason"].startswith("Expected ")
        assert answer["loaded"] == []
        assert answer["inputs"] == [{"type": "string", "name": "path", "required": True}]
        assert answer["example"] == {"path": ["scan.nii.gz"]}


def ask(uri: str, paths: list[Path]) -> dict[str, Any]:
    environment = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, uri, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
