"""Where prepared cases are kept between runs."""

from pathlib import Path

from pipeline.config.base import Positive, Section


class CacheConfig(Section):
    """A folder of prepared cases, shared by runs; `medseg cache --clear` empties it, and that of converted networks."""

    folder: Path | None = None
    """Where; by default medseg in the user's cache folder, or what MEDSEG_CACHE says."""
    max_gb: Positive = 20.0
    """Size above which the entries unused for longest are removed."""
