"""`compare`: where evaluations are found, and the files that it writes."""

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pipeline import cli
from pipeline.commands.compare import compare, open_evaluation
from pipeline.commands.score import score
from pipeline.config.evaluation import EvaluationConfig
from pipeline.errors import DatasetError
from tests.evaluation.masks import save

CONFIG = EvaluationConfig(bootstrap_samples=100)
CASES = [f"case_{number}" for number in range(1, 9)]
LABELS = {"organ": 1, "lesion": 2}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evaluations of eight cases by `score`, in folders old and new.

    Each organ is 10 voxels long; old finds 4 and 5 of them in turn, and new 1 to 4 more. Both find the lesion. In new,
    case_8 has no prediction.
    """
    root = tmp_path_factory.mktemp("scored")
    for index, case in enumerate(CASES):
        reference = np.zeros((14, 6, 6), np.uint8)
        reference[2:12, 2:4, 2:4], reference[2:4, 4:5, 4:5] = 1, 2
        save(root / "references" / f"{case}.nii.gz", reference)
        found = 4 + index % 2
        for run, length in (("old", found), ("new", found + 1 + index % 4)):
            prediction = reference.copy()
            prediction[2 + length : 12, 2:4, 2:4] = 0
            if (run, case) != ("new", "case_8"):
                save(root / f"masks_{run}" / f"{case}.nii.gz", prediction)
    for run in ("old", "new"):
        score(root / f"masks_{run}", root / "references", root / run, labels=LABELS, config=CONFIG)
    return root


@pytest.fixture
def runs(scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own copy of the evaluations, which is the working directory."""
    for run in ("old", "new"):
        shutil.copytree(scored / run, tmp_path / run)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def content_of(folder: Path) -> dict[str, Any]:
    text = (folder / "comparison.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    return content


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_the_better_run_is_named_and_the_numbers_are_those_worked_out_by_hand(runs: Path) -> None:
    result = compare(["old", "new"], Path("out"), config=CONFIG)
    content = content_of(runs / "out")
    assert content == json.loads(json.dumps(result.content))
    assert content["baseline"]["name"] == "old"
    (pair,) = content["comparisons"]
    assert (pair["other"]["name"], pair["verdict"]) == ("new", "better")
    organ = pair["labels"]["organ"]["dice"]
    # l of 10 voxels in length are Dice 2 l / (l + 10); seven cases, for the eighth has no prediction
    before = [2 * length / (length + 10) for length in (4, 5, 4, 5, 4, 5, 4)]
    after = [2 * length / (length + 10) for length in (5, 7, 7, 9, 5, 7, 7)]
    assert organ["baseline_mean"] == pytest.approx(np.mean(before))
    assert organ["mean_difference"] == pytest.approx(np.mean(after) - np.mean(before))
    assert (organ["wins"], organ["ties"], organ["losses"], organ["n"]) == (7, 0, 0, 7)
    lesion = pair["labels"]["lesion"]["dice"]
    assert (lesion["mean_difference"], lesion["p"], lesion["ties"]) == (0.0, None, 7)
    # the mean over labels halves the difference of the organ
    assert pair["mean_dice"]["mean_difference"] == pytest.approx(organ["mean_difference"] / 2)
    assert pair["mean_dice"]["p"] == pytest.approx(2 / 2**7, rel=0.5)  # all of one sign, some alike
    assert pair["sentences"][0].startswith("new is better than old: its mean Dice per case is higher by 0.0")
    assert "1 case failed in new alone, which the differences do not count: case_8." in pair["sentences"]
    assert pair["reasons"]["failed_in_other"]["case_8"].startswith("Expected one prediction of the case; found none.")


def test_the_table_has_a_row_for_each_case_and_label_those_that_failed_included(runs: Path) -> None:
    compare(["old", "new"], Path("out"), config=CONFIG)
    with (runs / "out" / "comparison.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["case"], row["label"]) for row in rows] == [(case, label) for case in CASES for label in LABELS]
    first, last = rows[0], rows[-1]
    assert (first["status_baseline"], first["status_other"]) == ("ok", "ok")
    assert float(first["dice_baseline"]) == pytest.approx(8 / 14)
    assert float(first["dice_difference"]) == pytest.approx(10 / 15 - 8 / 14)
    assert (last["status_baseline"], last["status_other"], last["dice_other"], last["dice_difference"]) == (
        ("ok", "failed", "", "")
    )


@pytest.mark.drawn
def test_the_report_has_sentences_table_and_drawings_and_asks_for_nothing(runs: Path) -> None:
    compare(["old", "new"], Path("out"), config=CONFIG)
    page = (runs / "out" / "report.html").read_text(encoding="utf-8")
    for sentence in content_of(runs / "out")["comparisons"][0]["sentences"]:
        assert sentence in page.replace("&#39;", "'").replace("&lt;", "<")
    assert page.count("<svg role") == 3
    assert not re.search(r"https?:|@import|url\((?!#)", page)
    assert "Expected one prediction of the case; found none." in page
    figures = {path.name for path in (runs / "out" / "figures").iterdir()}
    expected = [f"difference_1_{metric}.{ending}" for metric in ("dice", "hd95_mm", "nsd") for ending in ("svg", "pdf")]
    assert figures == set(expected)


def test_figures_of_a_comparison_with_more_runs_do_not_stay(runs: Path) -> None:
    compare(["old", "new", "old"], Path("out"), config=CONFIG)
    assert (runs / "out" / "figures" / "difference_2_dice.svg").is_file()
    (runs / "out" / "figures" / "mine.svg").write_text("of another")
    compare(["old", "new"], Path("out"), config=CONFIG)
    assert not (runs / "out" / "figures" / "difference_2_dice.svg").exists()
    assert (runs / "out" / "figures" / "mine.svg").is_file()


def test_without_an_output_nothing_is_written(runs: Path) -> None:
    before = sorted(runs.rglob("*"))
    compare(["old", "new"], None, config=CONFIG)
    assert sorted(runs.rglob("*")) == before


def test_a_training_run_is_known_by_the_evaluation_in_its_folder(runs: Path) -> None:
    (runs / "run").mkdir()
    (runs / "new").rename(runs / "run" / "evaluation")
    files = open_evaluation("run")
    assert (files.name, len(files.cases)) == ("run", 7)


def test_a_folder_without_an_evaluation_is_refused(runs: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"Expected an evaluation \(metrics.json, cases.csv\); found none in .*/old/figures"
    ):
        open_evaluation(str(runs / "old" / "figures"))


def test_the_command_prints_a_table_and_ends_with_the_sentences(runs: Path) -> None:
    done = invoke("compare", "old", "new", "-o", "out")
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    assert max(map(len, lines[:12])) <= 80
    assert any(re.match(r" ?organ +Dice +0\.\d{3} +0\.\d{3} +\+0\.\d{3} .* 7/0/0", line) for line in lines)
    start = lines.index("comparison   out/report.html")
    assert lines[start + 1 :] == content_of(runs / "out")["comparisons"][0]["sentences"]


@pytest.mark.usefixtures("runs")
def test_one_run_alone_is_wrong_usage() -> None:
    done = invoke("compare", "old")
    assert done.exit_code == 2
    assert "give two runs or more" in re.sub(r"[\s│]+", " ", done.output)
