"""How much memory a process may still take, as the kernel tells it: the machine's, and that of its control groups.

A container or a job of a scheduler is a control group with a limit of its own; whatever goes beyond is killed, however
much memory the machine has.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
BYTES_PER_KB = 1024
BYTES_PER_GB = 1e9


def available_bytes(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """Memory that can be taken before something is swapped out or killed: the least that any bound leaves.

    Args:
        proc: where the kernel's information on processes is mounted.
        cgroups: where control groups are mounted, of version 1, 2 or both.

    Returns:
        Bytes, or None where the system does not tell (macOS).
    """
    of_machine = _fields(proc / "meminfo").get("MemAvailable:")
    bounds = [] if of_machine is None else [of_machine * BYTES_PER_KB]
    for files, folder in _groups(proc, cgroups):
        free = _free_bytes(files, folder)
        if free is not None:
            bounds.append(max(0, free))
    return min(bounds, default=None)


@dataclass(frozen=True)
class _Files:
    """Where a version of control groups keeps its numbers.

    Attributes:
        limit: file of the limit in bytes; "max" stands for none.
        usage: file of the bytes in use, the cache of files included.
        cache: fields of memory.stat with that cache, which the kernel gives up where memory is short.
    """

    limit: str
    usage: str
    cache: tuple[str, str]


_VERSION_1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
_VERSION_2 = _Files("memory.max", "memory.current", ("inactive_file", "active_file"))


def _groups(proc: Path, cgroups: Path) -> Iterator[tuple[_Files, Path]]:
    """The folders of the groups that this process is in, from the outermost: each has a limit that holds.

    A line of ``self/cgroup`` is ``0::/path`` in version 2, and ``4:memory:/path`` in version 1. Inside a container the
    path may be the machine's while the mount shows the container's group alone, so that folders may be missing.
    """
    for line in _lines(proc / "self" / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            files, root = _VERSION_1, cgroups / "memory"
        elif controllers == "":
            files, root = _VERSION_2, cgroups
        else:
            continue
        folder = root
        yield files, folder
        for part in Path(path).parts[1:]:
            folder /= part
            yield files, folder


def _free_bytes(files: _Files, folder: Path) -> int | None:
    """What a group's limit leaves; None where it has none or tells nothing."""
    limit, usage = (_number(folder / name) for name in (files.limit, files.usage))
    if limit is None or usage is None:
        return None
    statistics = _fields(folder / "memory.stat")
    return limit - usage + sum(statistics.get(name, 0) for name in files.cache)


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdecimal() else None


def _fields(path: Path) -> dict[str, int]:
    """The numbers of a file of names and numbers, a line each."""
    pairs = (line.split()[:2] for line in _lines(path))
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _lines(path: Path) -> list[str]:
    """Lines of a file; none where it cannot be read."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
