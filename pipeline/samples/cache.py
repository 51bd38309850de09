"""Prepared cases on disk, a safetensors file a case, shared by processes and runs.

A key is a hash of the content and of every setting that the result depends on, so an entry is never stale. Entries are
written whole or not at all; two processes that prepare the same case write the same file, and the second replaces it.

Any entry may go at any moment: another run trims the folder, a user clears it. No lock forbids it, because nothing is
lost by it: a process that has opened an entry keeps its content until it lets go of it (an unlinked file lives on while
it is mapped), and one that finds an entry gone prepares the case again, which gives the same values.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pipeline.config.cache import CacheConfig
from pipeline.files import ABANDONED_SECONDS, atomic_path, cache_folder
from pipeline.preprocessing.prepare import Trail

SUFFIX = ".case"
ENTRY_FORMAT = 7
"""Part of every key. Count it up with each change of what `_write` writes, or of what `prepare_case` gives it."""
TRAIL = TypeAdapter(Trail)
WEIGHTS = "weights"


@dataclass(frozen=True)
class PreparedCase:
    """A training case as the network sees it.

    Attributes:
        name: the case.
        image: (C, I, J, K) float32.
        labels: class numbers (I, J, K) uint8.
        foreground: for each class above 0, some voxels of it, (n, 3).
        trail: the way back to the scan's grid.
        weights: what each voxel counts for in the loss (I, J, K) float32; None where all count alike.
    """

    name: str
    image: NDArray[np.float32]
    labels: NDArray[np.uint8]
    foreground: tuple[NDArray[np.int32], ...]
    trail: Trail
    weights: NDArray[np.float32] | None = None


class StoredCase:
    """A prepared case on disk, of which parts can be read without reading the whole.

    Args:
        path: its file.
        make: prepares the case where the file is missing or damaged; picklable, where the entry is to be.
    """

    def __init__(self, path: Path, make: Callable[[], PreparedCase]) -> None:
        self.path = path
        self._make = make

    @cached_property
    def _tensors(self) -> safe_open:
        try:
            return safe_open(self.path, framework="numpy")  # checks the header against the file's length
        except (OSError, SafetensorError):
            _write(self.path, self._make())
            return safe_open(self.path, framework="numpy")

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_make": self._make}  # an open file does not travel to another process

    def open(self) -> None:
        """Make sure that there is an entry, and hold on to its content."""
        assert self._tensors is not None

    @property
    def name(self) -> str:
        """The case's name."""
        return str(self._tensors.metadata()["name"])

    @property
    def trail(self) -> Trail:
        """The way back to the scan's grid."""
        return TRAIL.validate_json(self._tensors.metadata()["trail"])

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape."""
        return tuple(self._tensors.get_slice("labels").get_shape())

    def image(self, box: tuple[slice, ...] | None = None) -> NDArray[np.float32]:
        """The image (C, I, J, K), or the part of it in a box of the spatial axes."""
        return self._tensors.get_slice("image")[(slice(None), *box) if box else ...]

    def labels(self, box: tuple[slice, ...] | None = None) -> NDArray[np.uint8]:
        """The class numbers (I, J, K), or the part of them in a box."""
        return self._tensors.get_slice("labels")[box if box else ...]

    def weights(self, box: tuple[slice, ...] | None = None) -> NDArray[np.float32] | None:
        """What each voxel counts for in the loss (I, J, K), or the part of it in a box; None where all count alike."""
        if WEIGHTS not in self._tensors.keys():  # noqa: SIM118  it is no dict
            return None
        return self._tensors.get_slice(WEIGHTS)[box if box else ...].astype(np.float32)

    @cached_property
    def foreground(self) -> tuple[NDArray[np.int32], ...]:
        """For each class above 0, some voxels of it, (n, 3); n may be 0."""
        names = sorted(
            name
            for name in self._tensors.keys()  # noqa: SIM118  it is no dict, and cannot be iterated
            if name.startswith("foreground")
        )
        return tuple(self._tensors.get_tensor(name) for name in names)


class CaseCache:
    """A folder of prepared cases with a size limit; the entries unused for longest go first."""

    def __init__(self, config: CacheConfig) -> None:
        self.folder = config.folder or cache_folder()
        self.max_bytes = int(config.max_gb * 1e9)

    def get(self, key: str, make: Callable[[], PreparedCase]) -> StoredCase:
        """The entry of a key, made first where it is missing or damaged, and again whenever it has gone."""
        stored = StoredCase(self.folder / f"{key}{SUFFIX}", make)
        stored.open()
        with suppress(FileNotFoundError):  # removed since it was opened
            os.utime(stored.path)
        return stored

    def trim(self, in_use: list[StoredCase]) -> int:
        """Remove what is abandoned, and the entries unused for longest until the rest is within the limit.

        Args:
            in_use: entries of this process, which stay.

        Returns:
            How many bytes were freed.
        """
        kept = {case.path for case in in_use}
        entries = sorted((status.st_mtime, status.st_size, path) for path, status in self._entries())
        excess = sum(size for _, size, _ in entries) - self.max_bytes
        freed = self._remove_abandoned()
        for _, size, path in entries:
            if excess <= 0:
                break
            if path not in kept:
                path.unlink(missing_ok=True)
                excess -= size
                freed += size
        return freed

    def clear(self) -> int:
        """Remove every entry and what is abandoned; returns how many bytes were freed."""
        freed = self._remove_abandoned()
        for path, status in self._entries():
            path.unlink(missing_ok=True)
            freed += status.st_size
        return freed

    def sizes(self) -> list[int]:
        """Bytes of each entry."""
        return [status.st_size for _, status in self._entries()]

    def _entries(self) -> list[tuple[Path, os.stat_result]]:
        return [(path, status) for path, status in self._files() if not path.name.startswith(".")]

    def _remove_abandoned(self) -> int:
        """Remove hidden files, which are entries being written, once nobody can still be writing them."""
        freed, now = 0, time.time()
        for path, status in self._files():
            if path.name.startswith(".") and now - status.st_mtime > ABANDONED_SECONDS:
                path.unlink(missing_ok=True)
                freed += status.st_size
        return freed

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Entries, whole or being written; another process may remove one meanwhile."""
        for path in self.folder.glob(f"*{SUFFIX}"):
            with suppress(FileNotFoundError):
                yield path, path.stat()


def make_key(parts: Mapping[str, object]) -> str:
    """A hash of named parts and of the entries' format: equal parts, equal key.

    Args:
        parts: strings, numbers, booleans, None, and lists and dictionaries of these.

    Raises:
        TypeError: for a part of another type, whose text need not say all that it holds.
    """
    text = json.dumps({"format": ENTRY_FORMAT, **parts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _write(path: Path, case: PreparedCase) -> None:
    tensors: dict[str, NDArray] = {"image": case.image, "labels": case.labels}
    tensors |= {f"foreground{index:04d}": voxels for index, voxels in enumerate(case.foreground, start=1)}
    tensors |= {} if case.weights is None else {WEIGHTS: case.weights}
    metadata = {"name": case.name, "trail": TRAIL.dump_json(case.trail).decode()}
    with atomic_path(path) as partial:
        # safetensors writes memory as it lies, and what argwhere returns lies transposed
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, partial, metadata)
