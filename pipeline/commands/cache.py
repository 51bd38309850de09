"""``medseg cache``: the folder of prepared cases and converted networks."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.config.cache import CacheConfig
from pipeline.inference.backends import converted
from pipeline.samples.cache import CaseCache


@dataclass(frozen=True)
class CacheState:
    """The cache's folder, what is in it, and how much of it was freed."""

    folder: Path
    cases: int
    networks: int
    size_bytes: int
    freed_bytes: int


def inspect_cache(config: CacheConfig, *, clear: bool) -> CacheState:
    """Say how large the cache is, and empty it where asked to; converted networks are in the default folder alone."""
    cache, has_networks = CaseCache(config), config.folder is None
    freed = cache.clear() if clear else 0
    if clear and has_networks:
        freed += converted.clear()
    cases, networks = cache.sizes(), converted.sizes() if has_networks else []
    return CacheState(cache.folder, len(cases), len(networks), sum(cases) + sum(networks), freed)
