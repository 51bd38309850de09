"""Where runs are kept: addresses of tracking servers and stores."""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

SQLITE = "sqlite:///"
DATABASE = "mlflow.db"


def tracking_uri(begun: str | None = None) -> str:
    """What MLFLOW_TRACKING_URI says, or else where a run was begun, or else a SQLite file in the working directory.

    It is made independent of the working directory.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or begun or f"{SQLITE}{DATABASE}"
    if not uri.startswith(SQLITE):
        from mlflow.utils.uri import resolve_uri_if_local  # seconds to import, which few commands need

        return str(resolve_uri_if_local(uri))
    _, mark, options = uri.partition("?")
    return f"{SQLITE}{database(uri)}{mark}{options}"


def is_in_use() -> bool:
    """Whether this working directory or its environment already has a place for runs."""
    return any(os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID")) or Path(DATABASE).exists()


def is_missing(uri: str) -> bool:
    """Whether a SQLite file does not exist: to connect would be to make an empty one."""
    return uri.startswith(SQLITE) and not database(uri).exists()


def without_login(uri: str) -> str:
    """The address as it may be shown: of one with a login, the host alone."""
    return (urlsplit(uri).hostname or "a server") if has_login(uri) else uri


def without_logins(text: str) -> str:
    """A text in which no address has a login: messages of MLflow and of the network repeat the address."""
    return re.sub(r"(?<=://)[^/\s]*@", "", text)


def reason_in_short(error: Exception) -> str:
    """What went wrong, in a line that may be shown: without logins, or the address that network errors repeat."""
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    end = line.rsplit("]", 1)[-1].strip(" :')\"") if "Max retries" in line else line  # of a chain of network errors
    return without_logins(end)


def has_login(uri: str) -> bool:
    """Whether the address holds a user or a password."""
    return "@" in urlsplit(uri).netloc


def database(uri: str) -> Path:
    """The file of a SQLite store."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0]).resolve()
