"""The one scan that a path stands for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.config.inference import InferenceConfig
from pipeline.errors import DatasetError
from pipeline.inference.archives import scratch_folder
from pipeline.inference.batch import InputFile
from pipeline.inference.channels import channels_of, find_cases
from pipeline.manifest import ModelRecord


@contextmanager
def only_scan(path: Path, manifest: ModelRecord, config: InferenceConfig) -> Iterator[InputFile]:
    """The scan at a path, as long as the block runs.

    Args:
        path: a file; the folder, or the zip file, of a DICOM series; or, where each channel has a file of its own, the
            folder of a case or one of its files.
        manifest: the model that is to be run on it.
        config: which series are wanted, and of the processes that read the headers of DICOM.

    Raises:
        DatasetError: there is none, or several.
        ScanError: it cannot be read.
    """
    with scratch_folder() as scratch:
        inputs = find_cases(path, None, channels_of(manifest), config=config, scratch=scratch)
        scans = [entry for entry in inputs if entry.is_scan]
        if len(scans) != 1:
            expected, found = "one scan: a file, a series of DICOM, or the files of one case", f"{len(scans)} at {path}"
            raise DatasetError(expected, found, "Give a path a scan; medseg predict does folders of them.")
        if scans[0].problem is not None:
            raise scans[0].problem
        yield scans[0]
