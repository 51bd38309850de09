"""Converted networks on disk: converting takes seconds, and reading what came of it hardly any time.

An entry is a file, named by a hash of all that the network depends on, written whole or not at all, and not used where
its content is not what was written. Any entry may go at any moment: it is read as a whole, and can be made again.
"""

import hashlib
import logging
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pipeline.files import ABANDONED_SECONDS, PARTIAL, atomic_path, cache_folder

FOLDER = "networks"
"""In the user's cache folder."""
SUFFIX = ".network"
GRAPH, WEIGHTS, HASH = "graph", "weights", "sha256"
MOST_KEPT = 8
"""Networks; those that were unused for longest go first."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Converted:
    """A network as OpenVINO writes it.

    Attributes:
        graph: its layers, XML.
        weights: of all of them.
    """

    graph: bytes
    weights: bytes

    @property
    def sha256(self) -> str:
        """Of both."""
        found = hashlib.sha256(self.graph)
        found.update(self.weights)
        return found.hexdigest()


def read(key: str) -> Converted | None:
    """The network of a key; None where there is none, or a damaged one."""
    path = _path(key)
    try:
        with safe_open(path, framework="np") as tensors:
            graph, weights = (tensors.get_tensor(name).tobytes() for name in (GRAPH, WEIGHTS))
            wanted = (tensors.metadata() or {}).get(HASH)
    except (OSError, SafetensorError) as error:
        log.debug("no converted network in %s", path, exc_info=error)
        return None
    found = Converted(graph, weights)
    if found.sha256 != wanted:
        return None
    with suppress(OSError):  # somebody else's, which may be read alone
        os.utime(path)
    return found


def keep(key: str, network: Converted) -> None:
    """Keep a network, where the disk lets it be kept."""
    arrays = {
        name: np.frombuffer(content, np.uint8) for name, content in ((GRAPH, network.graph), (WEIGHTS, network.weights))
    }
    try:
        with atomic_path(_path(key)) as partial:
            save_file(arrays, partial, {HASH: network.sha256})
        _trim()
    except (OSError, SafetensorError) as error:
        log.debug("the converted network is not kept", exc_info=error)


def folder() -> Path:
    """Where they are kept."""
    return cache_folder() / FOLDER


def clear() -> int:
    """Remove all of them, and what killed processes left; returns how many bytes were freed."""
    freed = sum(sizes()) + _remove_abandoned()
    for path in _entries():
        path.unlink(missing_ok=True)
    return freed


def sizes() -> list[int]:
    """Bytes of each."""
    return [status.st_size for _, status in _statuses(_entries())]


def _path(key: str) -> Path:
    return folder() / f"{key}{SUFFIX}"


def _trim() -> None:
    """Remove what was unused for longest, and what killed processes left."""
    _remove_abandoned()
    newest_first = sorted(_statuses(_entries()), key=lambda entry: -entry[1].st_mtime)
    for path, _ in newest_first[MOST_KEPT:]:
        path.unlink(missing_ok=True)


def _remove_abandoned() -> int:
    freed, now = 0, time.time()
    for path, status in _statuses(list(folder().glob(f"{PARTIAL}*{SUFFIX}"))):
        if now - status.st_mtime > ABANDONED_SECONDS:
            path.unlink(missing_ok=True)
            freed += status.st_size
    return freed


def _entries() -> list[Path]:
    return [path for path in folder().glob(f"*{SUFFIX}") if not path.name.startswith(PARTIAL)]


def _statuses(paths: list[Path]) -> list[tuple[Path, os.stat_result]]:
    """Of those that are still there."""
    found = []
    for path in paths:
        with suppress(FileNotFoundError):
            found.append((path, path.stat()))
    return found
