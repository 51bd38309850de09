"""After what the map of an autoencoder's codes is coloured."""

import csv
from pathlib import Path

from pipeline.commands.dataset import CheckedDataset
from pipeline.config.pretraining import PretrainingConfig
from pipeline.errors import ConfigError
from pipeline.wording import enumerate_names

CASE = "case"
TABLE = "cases.csv"
UNKNOWN, ALIKE = "not in the table", "validation scans"


def read_colours(config: PretrainingConfig, checked: CheckedDataset) -> dict[str, str]:
    """What each case is coloured after: its value in the column of the table; without a column, all alike.

    Raises:
        ConfigError: there is no such table, or no such column in it.
    """
    if config.autoencoder.map_column is None:
        return dict.fromkeys((case.name for case in checked.dataset.cases), ALIKE)
    path = config.autoencoder.map_table or config.data.root / TABLE
    known = _read(path, config.autoencoder.map_column)
    return {case.name: known.get(case.name, UNKNOWN) for case in checked.dataset.cases}


def _read(path: Path, column: str) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        found = f"{path}: {getattr(error, 'strerror', None) or 'no text'}"
        raise ConfigError("a table of cases (autoencoder.map_table)", found, "Correct the path.") from error
    names = [name for name in rows[0] if name] if rows else []  # a surplus cell has no name
    if CASE not in names or column not in names:
        expected = f"a table with the columns {CASE} and {column} (autoencoder.map_column)"
        found = f"{enumerate_names(names) or 'none'} in {path}"
        raise ConfigError(expected, found, "Correct the name, or add the column.")
    return {row[CASE]: row[column] or UNKNOWN for row in rows if row[CASE]}
