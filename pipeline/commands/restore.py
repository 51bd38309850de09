"""``medseg predict`` with a denoising autoencoder: better images instead of masks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from pipeline.commands.scan_rows import COLUMNS, ScanRow, rows_of
from pipeline.config.inference import InferenceConfig
from pipeline.errors import OutputError
from pipeline.files import make_writable, write_csv
from pipeline.formats import registry
from pipeline.inference.batch import InputFile
from pipeline.inference.reading import ReadScan
from pipeline.inference.restoration import Restorer
from pipeline.model import AutoencoderModel
from pipeline.scan import Scan

DESCRIPTION = "restored by medseg with an autoencoder; no measurement"
FILE_STEM = "restored"


def restore(
    model: AutoencoderModel,
    source: Path,
    output: Path,
    *,
    config: InferenceConfig,
    console: Console,
    overwrite: bool = False,
) -> list[ScanRow]:
    """Write a restored image for each scan of a folder, in 32 bits: OUTPUT/<case>/restored.nii.gz, or .tif of pictures.

    A network that takes noise away gives the scan's own grid, one that learnt a higher resolution its own, finer one.
    Several channels are a file each, restored_0000 and so on.

    Args:
        model: an autoencoder of kind denoising.
        source: a scan, or a folder of scans.
        output: the folder of the images and of cases.csv, which has a row for each file of the source.
        config: of the windows, the device and the reader processes.
        console: where progress is shown.
        overwrite: replace images that are there; otherwise their cases fail.

    Raises:
        ConfigError: a device or a number format that this machine does not have.
        DatasetError: there is no scan.
        ModelError: the autoencoder is of a kind that restores nothing.
        OutputError: nothing can be written to the folder.

    Example:
        >>> model = load_autoencoder(Path("runs/denoising/1/model"))
        >>> settings = model.manifest.inference
        >>> rows = restore(model, Path("scans"), Path("better"), config=settings, console=Console())
    """
    restorer = Restorer(model, config)
    make_writable(output)

    def image_of(entry: InputFile, read: ReadScan) -> Mapping[str, Any]:
        paths = _paths(output / entry.case, read.scan)
        _refuse_to_replace(paths, overwrite=overwrite)
        restored = restorer.restore(read.scan, read.prepared)
        for path, channel in zip(paths, restored.array, strict=True):
            registry.write_map(path, np.ascontiguousarray(channel), restored, description=DESCRIPTION)
        return {"image": " ".join(f"{entry.case}/{path.name}" for path in paths)}

    rows = rows_of(source, model.manifest, image_of, config=config, console=console, verb="restoring")
    write_csv(output / "cases.csv", [*COLUMNS, "image"], [row.cells() for row in rows])
    return rows


def _paths(folder: Path, scan: Scan) -> list[Path]:
    ending = registry.map_ending(scan)
    if scan.channels == 1:
        return [folder / f"{FILE_STEM}{ending}"]
    return [folder / f"{FILE_STEM}_{channel:04d}{ending}" for channel in range(scan.channels)]


def _refuse_to_replace(paths: list[Path], *, overwrite: bool) -> None:
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        remedy = "Choose another OUTPUT, or give --overwrite."
        raise OutputError("no restored image of this case yet", f"{there[0].name} in OUTPUT", remedy)
