"""What is to start fast imports none of the libraries that take seconds."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLES = Path(__file__).resolve().parents[1] / "data_samples" / "shapes"
SLOW = {"albumentations", "mlflow", "monai", "torch"}
OTHER_FORMATS = {"SimpleITK", "h5py", "imagecodecs", "tifffile", "PIL"}
"""What other formats than NIfTI are read and written with."""
SKELETONS = "skimage.morphology._skeletonize"
"""What centre lines are found with, where they are asked for."""
DRAWING = "matplotlib"
"""Takes less than half a second, which is still too long for help and for each process that reads masks."""


def imports_of(*arguments: str) -> list[str]:
    """The modules that a command and the processes that it starts import, a name for each time."""
    environment = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return re.findall(r"import time: +\d+ \| +\d+ \| +([\w.]+)", done.stderr)


def test_help_imports_nothing_slow() -> None:
    imported = imports_of("--help")
    assert "pipeline.cli" in imported
    assert not (SLOW | {DRAWING}) & set(imported)


@pytest.mark.parametrize("options", [[], ["--deep"]])
@pytest.mark.parametrize("path", [SAMPLES, SAMPLES / "imagesTs"])
def test_neither_check_nor_its_reader_process_imports_anything_slow(path: Path, options: list[str]) -> None:
    imported = imports_of("check", str(path), *options)
    assert imported.count("pipeline.checks.case") == 2  # once in each process
    assert not (SLOW | OTHER_FORMATS | {DRAWING}) & set(imported)


def test_neither_score_nor_compare_imports_anything_slow(tmp_path: Path) -> None:
    for name in ("predictions", "references"):
        (tmp_path / name).mkdir()
        shutil.copy(next((SAMPLES / "labelsTr").glob("*.nii.gz")), tmp_path / name)
    folders = [str(tmp_path / name) for name in ("predictions", "references", "out")]
    imported = imports_of("score", *folders[:2], "-o", folders[2])
    assert "pipeline.evaluation" in imported
    assert imported.count("pipeline.evaluation.folders") > 1  # in the processes that read masks too
    assert imported.count(DRAWING) == 1  # in the main process, for the report
    assert not (SLOW | {SKELETONS}) & set(imported)
    asked = imports_of("score", *folders[:2], "-o", folders[2], "--centreline")
    assert SKELETONS in asked
    imported = imports_of("compare", folders[2], folders[2])
    assert "pipeline.evaluation.comparison" in imported
    assert not (SLOW | {DRAWING}) & set(imported)
