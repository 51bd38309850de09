"""Which code ran, with which packages, by whom and on what."""

import getpass
import importlib.metadata
import os
import platform
from pathlib import Path

import psutil
import torch

from pipeline import __version__

NAMED = ("torch", "monai", "mlflow", "numpy")
"""Packages whose versions are tags; a training run has all in packages.txt."""


def describe_code_and_machine(command: str, commit: str | None) -> dict[str, str | None]:
    """Tags that say which code ran, by whom, with which packages and on which hardware.

    Args:
        command: the command's name.
        commit: as `provenance.code_commit` gives it.
    """
    memory_gb = psutil.virtual_memory().total / 1e9
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    tags: dict[str, str | None] = {
        "commit": commit or "unknown",
        "git.dirty": "unknown" if commit is None else str(commit.endswith("+changes")).lower(),
        "mlflow.source.git.commit": None if commit is None else commit.removesuffix("+changes"),
        "hardware.processor": processor_name(),
        "hardware.cores": str(os.cpu_count()),
        "hardware.memory_gb": f"{memory_gb:.1f}",
        "hardware.gpus": ", ".join(gpus) or "none",
        "version.medseg": __version__,
        "version.python": platform.python_version(),
    }
    tags |= {f"version.{name}": importlib.metadata.version(name) for name in NAMED}
    if "MLFLOW_RUN_ID" not in os.environ:  # `mlflow run` has said more than this
        tags |= {"mlflow.source.name": f"medseg {command}", "mlflow.source.type": "LOCAL", "mlflow.user": _user()}
    return tags


def processor_name() -> str:
    """The processor's name, of which Python knows the kind alone on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number without a name
        return None
