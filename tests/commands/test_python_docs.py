"""The code of docs/python.md, run as it stands."""

import re
import shutil
from pathlib import Path

import pytest

from tests.commands.conftest import SAMPLES, TINY

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"


@pytest.mark.usefixtures("tracked_here")
def test_the_examples_run(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan, commands = blocks()
    arrange(dataset, tmp_path)
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    exec(commands, {"Path": Path}, found)
    assert found["failed"] == []
    Path("runs/demo/1").mkdir(parents=True)
    shutil.copytree(found["run"].model, "runs/demo/1/model")  # type: ignore[attr-defined]
    exec(scan, found)
    assert Path("mask.nii.gz").exists()


def blocks() -> tuple[str, str]:
    """The code about a scan, and that of the commands, with a network of seconds."""
    *scan, commands = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert '"training.max_epochs=2"' in commands
    return "".join(scan), commands.replace('"training.max_epochs=2"', f"*{[*TINY, 'data.root=data']}")


def arrange(dataset: Path, folder: Path) -> None:
    """The files that the page names."""
    Path(dataset).rename(folder / "data")
    (folder / "configs").mkdir()
    shutil.copy(SAMPLES.parents[1] / "configs" / "demo.yaml", folder / "configs")
    (folder / "new").mkdir()
    shutil.copy(next(iter(sorted((SAMPLES / "imagesTr").iterdir()))), folder / "new" / "case_001.nii.gz")
    (folder / "references").mkdir()
    shutil.copy(next(iter(sorted((SAMPLES / "labelsTr").iterdir()))), folder / "references" / "case_001.nii.gz")
