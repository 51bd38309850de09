from pathlib import Path
from typing import Any

import pytest

from pipeline.config.data import DataConfig
from pipeline.errors import ConfigError, DatasetError
from pipeline.layouts.patients import find_patients

NAMES = ["p1_a", "p1_b", "p2_a"]


def _find(names: list[str], **settings: Any) -> dict[str, str]:
    return find_patients(names, DataConfig(root=Path("unused"), **settings))


def _table(folder: Path, text: str) -> Path:
    path = folder / "patients.csv"
    path.write_text(text, encoding="utf-8-sig")
    return path


def test_by_default_each_case_is_a_patient() -> None:
    assert _find(NAMES) == {"p1_a": "p1_a", "p1_b": "p1_b", "p2_a": "p2_a"}


def test_the_first_group_of_the_pattern_is_the_patient() -> None:
    assert _find(NAMES, patient_pattern="^(.*?)_(.*)$") == {"p1_a": "p1", "p1_b": "p1", "p2_a": "p2"}


def test_the_pattern_is_searched_anywhere_in_the_name() -> None:
    assert _find(["scan-17-axial"], patient_pattern=r"(\d+)") == {"scan-17-axial": "17"}


@pytest.mark.parametrize(
    "pattern", ["^(p.)_", "^(p.)?", "^p|^odd|^even|(x)"], ids=["no match", "empty group", "no group"]
)
def test_names_in_which_the_pattern_finds_no_patient_are_an_error_that_names_them(pattern: str) -> None:
    with pytest.raises(DatasetError, match="finds a patient; found 2 of 2 in which it does not: odd, even"):
        _find(["odd", "even"], patient_pattern=pattern)


def test_a_pattern_that_is_no_regular_expression_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"a regular expression in data\.patient_pattern; found '\(': "):
        _find(NAMES, patient_pattern="(")


def test_a_pattern_without_a_group_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"data\.patient_pattern with a group, in parentheses"):
        _find(NAMES, patient_pattern="^p")


def test_a_table_names_the_patients_and_may_hold_more_rows_and_columns(tmp_path: Path) -> None:
    table = _table(tmp_path, "age,case,subject\n1,p1_a,x\n2,p1_b, x \n3,p2_a,y\n4,other,z\n")
    assert _find(NAMES, patient_table=table, patient_column="subject") == {"p1_a": "x", "p1_b": "x", "p2_a": "y"}


@pytest.mark.parametrize("last", ["", "p2_a,\n", "p2_a\n"])
def test_cases_without_a_patient_in_the_table_are_an_error_that_names_them(tmp_path: Path, last: str) -> None:
    table = _table(tmp_path, "case,patient\np1_a,x\np1_b,x\n" + last)
    with pytest.raises(DatasetError, match="with a patient for every case; found none for 1 of 3: p2_a"):
        _find(NAMES, patient_table=table)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("case;patient\np1_a;x\n", "the columns case;patient"),
        ("name,patient\np1_a,x\n", "the columns name, patient"),
        ("case,subject\np1_a,x\n", "the columns case, subject"),
        ("case,patient\n", "no rows"),
        ("", "no rows"),
    ],
)
def test_a_table_without_the_columns_is_an_error(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(DatasetError, match=f"rows under the columns case and patient in .*; found {found}"):
        _find(NAMES, patient_table=_table(tmp_path, text))


def test_two_patients_for_a_case_are_an_error_that_keeps_their_names_to_itself(tmp_path: Path) -> None:
    table = _table(tmp_path, "case,patient\np1_a,Miller\np1_a,Smith\n")
    with pytest.raises(DatasetError, match="one patient a case; found two for p1_a") as caught:
        _find(["p1_a"], patient_table=table)
    assert "Miller" not in str(caught.value)


def test_a_table_that_is_missing_or_no_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a CSV file of cases; found .*No such file"):
        _find(NAMES, patient_table=tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=r"a CSV file of cases; found .*decode"):
        _find(NAMES, patient_table=tmp_path / "binary.csv")
