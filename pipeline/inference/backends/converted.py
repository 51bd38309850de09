"""Converted networks on disk: converting takes seconds, and reading what came of it hardly any time.

An entry is a folder: the network as OpenVINO writes it, and the hashes of its files. It is named by all that it depends
on, written whole or not at all, and made anew where its files are not those that were written.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pipeline.files import ABANDONED_SECONDS, PARTIAL, cache_folder, file_sha256, fsync, write_json
from pipeline.inference.backends.conversion import NETWORK, WEIGHTS, Order
from pipeline.inference.backends.openvino_backend import core, load_openvino
from pipeline.networks.unet import UNet

if TYPE_CHECKING:
    import openvino

FOLDER = "networks"
"""In the user's cache folder."""
HASHES = "hashes.json"
FORMAT = 1
"""Part of every key. Count it up with each change of what is converted, or of how."""
MOST_KEPT = 8
"""Networks; those that were unused for longest go first."""
log = logging.getLogger(__name__)


def make_key(order: Order, network: UNet) -> str:
    """A hash of all that a converted network depends on: the order, the weights, the processor, versions."""
    versions = (FORMAT, load_openvino().__version__, torch.__version__)
    processor = core().get_property("CPU", "FULL_DEVICE_NAME")
    found = hashlib.sha256(repr((versions, processor, order.model_dump_json(exclude={"threads"}))).encode())
    for name, tensor in network.state_dict().items():
        found.update(name.encode())
        found.update(tensor.contiguous().numpy().data)
    return found.hexdigest()[:32]


def read_or_make(key: str, make: Callable[[Path], None]) -> "openvino.Model":
    """The converted network of a key.

    Args:
        key: as `make_key` gives it.
        make: writes it to a folder, where there is none, or a damaged one. It is kept, where the disk lets it be.

    Raises:
        RuntimeError: it cannot be made.
    """
    folder = networks_folder() / key
    model = _read(folder)
    if model is not None:
        return model
    log.info("the network is converted for this processor, once")
    with _partial_folder() as partial:
        make(partial)
        write_json(partial / HASHES, _hashes(partial))
        model = _read(partial)
        if model is None:
            raise RuntimeError("the converted network cannot be read")
        _keep(partial, folder)
    return model


def networks_folder() -> Path:
    """Where converted networks are kept."""
    return cache_folder() / FOLDER


def clear() -> int:
    """Remove all of them; returns how many bytes were freed."""
    freed = 0
    for folder in _entries() + _unfinished():
        freed += size_bytes(folder)
        shutil.rmtree(folder, ignore_errors=True)
    return freed


def sizes() -> list[int]:
    """Bytes of each."""
    return [size_bytes(folder) for folder in _entries()]


def size_bytes(folder: Path) -> int:
    """Of the files in a folder; those that go meanwhile do not count."""
    found = 0
    for path in folder.glob("*"):
        with suppress(FileNotFoundError):
            found += path.stat().st_size
    return found


def _read(folder: Path) -> "openvino.Model | None":
    """The network of a folder, or None where there is none, or its files are not those that were written."""
    try:
        wanted = json.loads((folder / HASHES).read_text(encoding="utf-8"))
        if wanted != _hashes(folder):
            return None
        os.utime(folder)
        return core().read_model(folder / NETWORK, folder / WEIGHTS)
    except (OSError, ValueError, RuntimeError) as error:
        log.debug("no converted network in %s", folder, exc_info=error)
        return None


@contextmanager
def _partial_folder() -> Iterator[Path]:
    """A folder for what is being made: beside the entries, or where none can be written, of the system's."""
    try:
        networks_folder().mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=networks_folder()))
    except OSError:
        partial = Path(tempfile.mkdtemp(prefix=PARTIAL))
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _keep(partial: Path, folder: Path) -> None:
    """Make a folder the entry, unless another process has just done so, or the disk does not let it."""
    try:
        for name in (NETWORK, WEIGHTS):
            fsync(partial / name)
        shutil.rmtree(folder, ignore_errors=True)  # one whose files are damaged
        partial.rename(folder)
        fsync(folder.parent)
        _trim()
    except OSError as error:
        log.debug("the converted network is not kept", exc_info=error)


def _hashes(folder: Path) -> dict[str, str]:
    return {name: file_sha256(folder / name) for name in (NETWORK, WEIGHTS)}


def _trim() -> None:
    """Remove what was unused for longest, and what a process left that was killed."""
    now = time.time()
    abandoned = [folder for folder in _unfinished() if now - _used(folder) > ABANDONED_SECONDS]
    for folder in [*sorted(_entries(), key=_used, reverse=True)[MOST_KEPT:], *abandoned]:
        shutil.rmtree(folder, ignore_errors=True)


def _entries() -> list[Path]:
    return [path for path in networks_folder().glob("*") if not path.name.startswith(PARTIAL)]


def _unfinished() -> list[Path]:
    return list(networks_folder().glob(f"{PARTIAL}*"))


def _used(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0
