"""Prepared cases on disk, a safetensors file a case, shared by processes and runs.

A key is a hash of the content and of every setting that the result depends on, so an entry is never stale. Entries are
written whole or not at all; two processes that prepare the same case write the same file, and the second replaces it.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pipeline.config.cache import CacheConfig
from pipeline.files import atomic_path
from pipeline.preprocessing.prepare import Trail

SUFFIX = ".case"
TRAIL = TypeAdapter(Trail)


@dataclass(frozen=True)
class PreparedCase:
    """A training case as the network sees it.

    Attributes:
        name: the case.
        image: (C, I, J, K) float32.
        labels: class numbers (I, J, K) uint8.
        foreground: for each class above 0, some voxels of it, (n, 3).
        trail: the way back to the scan's grid.
    """

    name: str
    image: NDArray[np.float32]
    labels: NDArray[np.uint8]
    foreground: tuple[NDArray[np.int32], ...]
    trail: Trail


class StoredCase:
    """A prepared case on disk, of which parts can be read without reading the whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _tensors(self) -> safe_open:
        return safe_open(self.path, framework="numpy")

    def __getstate__(self) -> dict[str, Path]:
        return {"path": self.path}  # an open file does not travel to another process

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
        self.folder = config.folder or default_folder()
        self.max_bytes = int(config.max_gb * 1e9)

    def get(self, key: str, make: Callable[[], PreparedCase]) -> StoredCase:
        """The entry of a key, made first where it is missing or damaged."""
        path = self.folder / f"{key}{SUFFIX}"
        stored = StoredCase(path)
        try:
            stored.shape  # noqa: B018  opening checks the header against the file's length
            os.utime(path)
        except (OSError, SafetensorError):
            _write(path, make())
            stored = StoredCase(path)
        return stored

    def trim(self, in_use: list[StoredCase]) -> int:
        """Remove the entries unused for longest until the rest is within the limit; those in use stay.

        Returns:
            How many bytes were freed.
        """
        kept = {case.path for case in in_use}
        entries = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in self._entries())
        excess = sum(size for _, size, _ in entries) - self.max_bytes
        freed = 0
        for _, size, path in entries:
            if freed >= excess:
                break
            if path not in kept:
                path.unlink(missing_ok=True)
                freed += size
        return freed

    def clear(self) -> int:
        """Remove every entry; returns how many bytes were freed."""
        entries = self._entries()
        freed = sum(path.stat().st_size for path in entries)
        for path in entries:
            path.unlink(missing_ok=True)
        return freed

    def sizes(self) -> list[int]:
        """Bytes of each entry."""
        return [path.stat().st_size for path in self._entries()]

    def _entries(self) -> list[Path]:
        return list(self.folder.glob(f"*{SUFFIX}"))


def default_folder() -> Path:
    """What MEDSEG_CACHE says, or else medseg in the user's cache folder."""
    if given := os.environ.get("MEDSEG_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "medseg"


def make_key(**parts: object) -> str:
    """A hash of named parts (strings, numbers, lists of these): equal parts, equal key."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _write(path: Path, case: PreparedCase) -> None:
    tensors: dict[str, NDArray] = {"image": case.image, "labels": case.labels}
    tensors |= {f"foreground{index:04d}": voxels for index, voxels in enumerate(case.foreground, start=1)}
    metadata = {"name": case.name, "trail": TRAIL.dump_json(case.trail).decode()}
    with atomic_path(path) as partial:
        # safetensors writes memory as it lies, and what argwhere returns lies transposed
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, partial, metadata)
