"""Who a case shows: from its name by a pattern, from a table, or each case a patient of its own."""

import csv
import re
from collections.abc import Iterable
from pathlib import Path

from pipeline.config.data import DataConfig
from pipeline.errors import ConfigError, DatasetError
from pipeline.wording import enumerate_names

CASE_COLUMN = "case"


def find_patients(names: Iterable[str], config: DataConfig) -> dict[str, str]:
    """The patient of each case.

    Raises:
        ConfigError: the pattern is no regular expression with a group.
        DatasetError: cases whose patient the pattern or the table does not give, or the table cannot be read.
    """
    if config.patient_pattern is not None:
        return _by_pattern(list(names), config.patient_pattern)
    if config.patient_table is not None:
        return _by_table(list(names), config.patient_table, config.patient_column)
    return {name: name for name in names}


def _by_pattern(names: list[str], pattern: str) -> dict[str, str]:
    expression = _compile(pattern)
    matches = {name: expression.search(name) for name in names}
    patients = {name: found.group(1) or "" for name, found in matches.items() if found}
    unknown = [name for name in names if not patients.get(name)]
    if unknown:
        raise DatasetError(
            f"case names in which data.patient_pattern {pattern!r} finds a patient",
            f"{len(unknown)} of {len(names)} in which it does not: {enumerate_names(unknown)}",
            "Correct the pattern, or name the patients in a table (data.patient_table).",
        )
    return patients


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        expected = "a regular expression in data.patient_pattern"
        raise ConfigError(expected, f"{pattern!r}: {error}", "Mend its syntax.") from error
    if not expression.groups:
        raise ConfigError(
            "data.patient_pattern with a group, in parentheses, for the patient",
            repr(pattern),
            'Write for example "^(.*?)_".',
        )
    return expression


def _by_table(names: list[str], table: Path, column: str) -> dict[str, str]:
    patients: dict[str, str] = {}
    for name, patient in read_column(table, column, settings=("data.patient_table", "data.patient_column")):
        if patients.setdefault(name, patient) != patient:
            raise DatasetError("one patient a case", f"two for {name} in {table}", "Correct the table.")
    unknown = [name for name in names if not patients.get(name)]
    if unknown:
        raise DatasetError(
            f"a row in {table} with a {column} for every case",
            f"none for {len(unknown)} of {len(names)}: {enumerate_names(unknown)}",
            f"Add them; the column {CASE_COLUMN} holds the file's name without its ending.",
        )
    return {name: patients[name] for name in names}


def read_column(table: Path, column: str, *, settings: tuple[str, str]) -> list[tuple[str, str]]:
    """The case of each row of a CSV file, and its value in a column.

    Args:
        table: the file, with a column ``case``.
        column: the other one.
        settings: which say where the table is and what the column is called, for messages.

    Raises:
        DatasetError: the table cannot be read, or lacks a column.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DatasetError("a CSV file of cases", f"{table}: {reason}", f"Check {settings[0]}.") from error
    columns = [str(name) for name in rows[0]] if rows else []
    if not {CASE_COLUMN, column} <= set(columns):
        raise DatasetError(
            f"rows under the columns {CASE_COLUMN} and {column} in {table}",
            f"the columns {', '.join(columns)}" if columns else "no rows",
            f"Separate the columns by commas, and name the one that is meant in {settings[1]}.",
        )
    return [(row[CASE_COLUMN].strip(), row[column].strip()) for row in rows]
