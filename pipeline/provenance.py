"""Which code is running, and when."""

import datetime
import os
import subprocess
from pathlib import Path

from pipeline import __version__

BUILT_FROM = "MEDSEG_COMMIT"
"""Environment variable by which an image says what commit the package in it was built from."""


def made_by() -> dict[str, str | None]:
    """What a file of results says of the code that made it: its version, its commit, and the time (UTC)."""
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"medseg": __version__, "commit": code_commit(), "created": created}


def code_commit() -> str | None:
    """The git commit of this package's checkout, "+changes" added where files differ.

    Outside a checkout it is what MEDSEG_COMMIT says, as it does in an image; None where that says nothing.
    """
    folder = Path(__file__).resolve().parent
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit or _git(folder, "ls-files", "--error-unmatch", "provenance.py") is None:
        return os.environ.get(BUILT_FROM, "").strip() or None
    return f"{commit}+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
