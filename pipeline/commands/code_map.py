"""After what the map of an autoencoder's codes is coloured."""

from pipeline.commands.dataset import CheckedDataset
from pipeline.config.pretraining import PretrainingConfig
from pipeline.layouts.patients import read_column

TABLE = "cases.csv"
UNKNOWN, ALIKE = "not in the table", "validation scans"


def read_colours(config: PretrainingConfig, checked: CheckedDataset) -> dict[str, str]:
    """What each case is coloured after: its value in the column of the table; without a column, all alike.

    Raises:
        DatasetError: there is no such table, or no such column in it.
    """
    names, column = [case.name for case in checked.dataset.cases], config.autoencoder.map_column
    if column is None:
        return dict.fromkeys(names, ALIKE)
    path = config.autoencoder.map_table or config.data.root / TABLE
    known = dict(read_column(path, column, settings=("autoencoder.map_table", "autoencoder.map_column")))
    return {name: known.get(name) or UNKNOWN for name in names}
