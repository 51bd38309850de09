"""``medseg embed``: scans in few numbers, a row a scan."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.commands.scan_rows import COLUMNS, ScanRow, rows_of
from pipeline.config.inference import InferenceConfig
from pipeline.files import make_writable, write_csv, writing_to
from pipeline.inference.batch import InputFile
from pipeline.inference.embedding import Embedder
from pipeline.inference.reading import ReadScan
from pipeline.model import AutoencoderModel


def embed(
    model: AutoencoderModel, source: Path, table: Path, *, config: InferenceConfig, console: Console
) -> list[ScanRow]:
    """Write the code of each scan of a folder to a table.

    Args:
        model: an autoencoder.
        source: a scan, or a folder of scans.
        table: a CSV file: case, input, status, reason, mse, and the numbers of the code as code_0, code_1 ...
        config: of the windows, the device and the reader processes.
        console: where progress is shown.

    Raises:
        ConfigError: a device or a number format that this machine does not have.
        DatasetError: there is no scan.
        OutputError: the table cannot be written.

    Example:
        >>> model = load_autoencoder(Path("runs/undercomplete/1/model"))
        >>> settings = model.manifest.inference
        >>> rows = embed(model, Path("scans"), Path("codes.csv"), config=settings, console=Console())
    """
    embedder = Embedder(model, config)
    make_writable(table.resolve().parent)

    def code_of(_entry: InputFile, read: ReadScan) -> Mapping[str, Any]:
        found = embedder.embed(read.prepared)
        numbers = {f"code_{place}": f"{value:.6g}" for place, value in enumerate(found.code)}
        return {"mse": "" if found.mse is None else f"{found.mse:.6g}"} | numbers

    rows = rows_of(source, model.manifest, code_of, config=config, console=console, verb="embedding")
    columns = dict.fromkeys(name for row in rows for name in row.found or {})
    with writing_to(table.resolve().parent):
        write_csv(table, [*COLUMNS, *columns], [row.cells() for row in rows])
    return rows
