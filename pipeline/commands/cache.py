"""``medseg cache``: the folder of prepared cases and converted networks."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.config.cache import CacheConfig
from pipeline.inference.backends import converted
from pipeline.samples.cache import CaseCache


@dataclass(frozen=True)
class CacheState:
    """The cache's folder, its size, and how much of it was freed."""

    folder: Path
    entries: int
    size_bytes: int
    freed_bytes: int


def inspect_cache(config: CacheConfig, *, clear: bool) -> CacheState:
    """Say how large the cache is, and empty it where asked to."""
    cache = CaseCache(config)
    freed = cache.clear() + converted.clear() if clear else 0
    sizes = cache.sizes() + converted.sizes()
    return CacheState(cache.folder, len(sizes), sum(sizes), freed)
