"""Numbers and lists of names in messages, which stay readable for one and for hundreds."""

import hashlib
import re
from collections.abc import Iterable

SHOWN = 5
LONGEST_NAME = 200
"""Bytes of a folder's name: file systems take 255, some of the network a few less."""


def enumerate_names(names: Iterable[str], shown: int = SHOWN) -> str:
    """The first names, and how many more there are.

    Example:
        >>> enumerate_names(["a", "b", "c", "d"], shown=2)
        'a, b and 2 more'
    """
    listed = list(names)
    head, rest = ", ".join(listed[:shown]), len(listed) - shown
    return f"{head} and {rest} more" if rest > 0 else head


def printable(text: str) -> str:
    """Text that any file and console takes: bytes of a file name that are no UTF-8 become ``%`` and two digits.

    Python keeps such a byte as a lone surrogate (PEP 383), which can be written nowhere but in a file name.
    """
    return re.sub("[\udc80-\udcff]", lambda found: f"%{ord(found.group()) - 0xDC00:02X}", text)


def one_line(text: str) -> str:
    """Printable text without line breaks and other control characters, which become ``%`` and two digits as well."""
    return re.sub("[\x00-\x1f\x7f]", lambda found: f"%{ord(found.group()):02X}", printable(text))


def folder_name(text: str) -> str:
    """What a folder is called that is named after a file: printable, on one line, and as short as file systems want it.

    Of a name that is too long, its beginning stays and digits of a hash of all of it follow, so that two names that
    differ stay apart.
    """
    name = one_line(text)
    if len(name.encode()) <= LONGEST_NAME:
        return name
    digits = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[: LONGEST_NAME - 10].decode(errors='ignore')}__{digits}"


def times(values: Iterable[float]) -> str:
    """Sizes along axes.

    Example:
        >>> times([0.5, 1.25, 30])
        '0.5 x 1.25 x 30'
    """
    return " x ".join(f"{value:.4g}" if value < 10_000 else f"{value:.0f}" for value in values)


def count_of(count: int, noun: str) -> str:
    """A number and its noun, "1 case" or "2 cases"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
