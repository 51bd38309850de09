"""A new scan is scored without what takes seconds to import."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from pipeline.quality.calibration import Gate
from pipeline.quality.estimate import DiceEstimate
from pipeline.quality.outliers import Mahalanobis

SCORE = """
import sys
from safetensors.numpy import load_file
from pipeline.quality import detection, histogram
from pipeline.quality.calibration import Gate
from pipeline.quality.estimate import DiceEstimate
from pipeline.quality.fitted import below
from pipeline.quality.outliers import Mahalanobis
arrays = load_file(sys.argv[1])
rows = arrays["rows"]
Gate.from_arrays(below("gate", arrays)).is_foreign(Mahalanobis.from_arrays(below("outliers", arrays)).scores(rows))
DiceEstimate.from_arrays(below("dice", arrays)).interval(rows, 0.1)
print(*sorted({"sklearn", "torch", "scipy.optimize", "scipy.stats"} & set(sys.modules)))
"""


def test_a_new_scan_is_scored_without_scikit_learn_and_torch(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(20, 5))
    outliers = Mahalanobis.fit(rows)
    parts = {
        "outliers": outliers,
        "gate": Gate.fit(outliers.scores(rows), 0.1),
        "dice": DiceEstimate.fit(rows, generator.random(20), groups=np.arange(20)),
    }
    arrays = {f"{part}.{name}": array for part, fitted in parts.items() for name, array in fitted.to_arrays().items()}
    save_file(arrays | {"rows": rows}, tmp_path / "quality.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", SCORE, str(tmp_path / "quality.safetensors")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stderr, done.stdout.split()) == ("", [])
