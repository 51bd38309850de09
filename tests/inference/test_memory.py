"""Machines and their control groups, as folders of the test's own."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.inference.memory import available_bytes

Files = Mapping[str, str | int]
GB = 10**9
UNLIMITED = 9223372036854771712
"""What version 1 has for no limit."""


def machine(root: Path, files: Files, groups: str = "") -> tuple[Path, Path]:
    """A machine of 16 GB free, which has these files below its control groups; its two mounted folders."""
    proc, cgroups = root / "proc", root / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal:       32000000 kB\nMemFree:  1 kB\nMemAvailable:   15625000 kB\n")
    (proc / "self" / "cgroup").write_text(groups)
    for name, content in files.items():
        (cgroups / name).parent.mkdir(parents=True, exist_ok=True)
        (cgroups / name).write_text(f"{content}\n")
    return proc, cgroups


def test_without_groups_it_is_what_the_machine_has(tmp_path: Path) -> None:
    assert available_bytes(*machine(tmp_path, {})) == 16 * GB  # 15,625,000 x 1024 bytes


def test_where_the_system_does_not_tell_it_is_unknown(tmp_path: Path) -> None:
    assert available_bytes(tmp_path / "absent", tmp_path / "absent") is None


def test_the_limit_of_a_group_of_version_2_less_what_it_uses_and_its_cache_of_files_counts_as_free(
    tmp_path: Path,
) -> None:
    files: Files = {
        "job/memory.max": 8 * GB,
        "job/memory.current": 6 * GB,
        "job/memory.stat": f"anon {3 * GB}\nfile {3 * GB}\nshmem {GB}\ninactive_file {GB}\nactive_file {GB // 2}",
    }
    assert available_bytes(*machine(tmp_path, files, "0::/job\n")) == 3.5 * GB  # 8 - 6 + 1 + 0.5


def test_the_limit_of_a_group_of_version_1_counts_those_below_it(tmp_path: Path) -> None:
    files: Files = {
        "memory/job/memory.limit_in_bytes": 4 * GB,
        "memory/job/memory.usage_in_bytes": 3 * GB,
        "memory/job/memory.stat": f"inactive_file 5\ntotal_inactive_file {GB}\ntotal_active_file 0",
    }
    assert available_bytes(*machine(tmp_path, files, "5:cpu:/job\n4:memory:/job\n0::/\n")) == 2 * GB


def test_a_group_around_it_may_leave_less(tmp_path: Path) -> None:
    files = {
        "slurm/memory.max": 10 * GB,
        "slurm/memory.current": 9 * GB,
        "slurm/job/memory.max": 8 * GB,
        "slurm/job/memory.current": 2 * GB,
    }
    assert available_bytes(*machine(tmp_path, files, "0::/slurm/job\n")) == GB


@pytest.mark.parametrize(
    ("files", "groups"),
    [
        ({"job/memory.max": "max", "job/memory.current": 6 * GB}, "0::/job\n"),
        ({"memory/memory.limit_in_bytes": UNLIMITED, "memory/memory.usage_in_bytes": GB}, "4:cpu,memory:/\n"),
        ({}, "0::/job\n"),
    ],
    ids=["version 2", "version 1", "nothing to read"],
)
def test_a_group_without_a_limit_bounds_nothing(tmp_path: Path, files: Files, groups: str) -> None:
    assert available_bytes(*machine(tmp_path, files, groups)) == 16 * GB


def test_in_a_container_the_mount_shows_its_own_group_whatever_path_the_process_has(tmp_path: Path) -> None:
    files = {"memory/memory.limit_in_bytes": 2 * GB, "memory/memory.usage_in_bytes": GB}
    assert available_bytes(*machine(tmp_path, files, "4:memory:/docker/0123\n")) == GB


def test_a_group_beyond_its_limit_has_nothing_free(tmp_path: Path) -> None:
    files = {"memory.max": GB, "memory.current": 2 * GB}
    assert available_bytes(*machine(tmp_path, files, "0::/\n")) == 0


def test_this_machine_has_some() -> None:
    free = available_bytes()
    if sys.platform != "linux":
        pytest.skip("only Linux tells")
    assert free is not None
    assert free > 0
