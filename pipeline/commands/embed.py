"""``medseg embed``: scans in few numbers, a row a scan."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.commands.progress import progress_line
from pipeline.commands.reading import read_all
from pipeline.config.inference import InferenceConfig
from pipeline.errors import reason_of
from pipeline.files import write_csv
from pipeline.inference.archives import scratch_folder
from pipeline.inference.batch import InputFile
from pipeline.inference.channels import channels_of, find_cases
from pipeline.inference.embedding import Embedder, Embedding
from pipeline.inference.readers import Outcome
from pipeline.inference.reading import ReadScan, read_and_prepare
from pipeline.model import AutoencoderModel

COLUMNS = ["case", "input", "status", "reason", "mse"]


@dataclass(frozen=True)
class Row:
    """A scan, or a file that is none.

    Attributes:
        entry: where it lies.
        reason: why it has no code; empty where it has one.
        embedding: its code.
    """

    entry: InputFile
    reason: str
    embedding: Embedding | None = None

    @property
    def status(self) -> str:
        """As in the tables of `medseg predict`."""
        if self.embedding is not None:
            return "ok"
        return "failed" if self.entry.is_scan else "skipped"

    def cells(self) -> dict[str, Any]:
        """The row of the table."""
        row: dict[str, Any] = {
            "case": self.entry.case,
            "input": self.entry.shown,
            "status": self.status,
            "reason": self.reason,
        }
        if self.embedding is None:
            return row
        numbers = {f"code_{place}": f"{value:.6g}" for place, value in enumerate(self.embedding.code)}
        return row | {"mse": f"{self.embedding.mse:.6g}"} | numbers


def embed(
    model: AutoencoderModel, source: Path, table: Path, *, config: InferenceConfig, console: Console
) -> list[Row]:
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

    Example:
        >>> model = load_autoencoder(Path("runs/undercomplete/1/model"))
        >>> settings = model.manifest.inference
        >>> rows = embed(model, Path("scans"), Path("codes.csv"), config=settings, console=Console())
    """
    embedder, manifest = Embedder(model, config), model.manifest
    with ExitStack() as held:
        scratch = held.enter_context(scratch_folder())
        entries = find_cases(source, None, channels_of(manifest), config=config, scratch=scratch)
        scans = [entry for entry in entries if entry.is_scan and entry.problem is None]
        progress = held.enter_context(progress_line(console, "embedding"))
        read = partial(read_and_prepare, fitted=manifest.preprocessing)
        outcomes = read_all(read, scans, "embedding", config=config, progress=progress)
        done = {outcome.item.case: _row(outcome, embedder) for outcome in outcomes}
    rows = [done.get(entry.case) or Row(entry, _why_not(entry)) for entry in entries]
    write_csv(table, [*COLUMNS, *_code_columns(rows)], [row.cells() for row in rows])
    return rows


def _row(outcome: Outcome[InputFile, ReadScan], embedder: Embedder) -> Row:
    if outcome.value is None:
        return Row(outcome.item, str(outcome.error))
    try:
        return Row(outcome.item, "", embedder.embed(outcome.value.prepared))
    except Exception as error:
        return Row(outcome.item, reason_of(error))


def _why_not(entry: InputFile) -> str:
    return str(entry.problem) if entry.problem is not None else entry.note


def _code_columns(rows: Sequence[Row]) -> list[str]:
    length = max((len(row.embedding.code) for row in rows if row.embedding is not None), default=0)
    return [f"code_{place}" for place in range(length)]
