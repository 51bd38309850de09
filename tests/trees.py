"""Folders of empty files, for what goes by names alone."""

from pathlib import Path


def touch(root: Path, *names: str) -> Path:
    """Make empty files below a folder, and the folders that they lie in; returns the folder."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root
