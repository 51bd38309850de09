"""What tells the names of a folder's files apart, without what they have in common."""

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path


def without_affixes(files: Mapping[str, Path]) -> dict[str, Path]:
    """Files by the part of their names that differs: ``21_training``, ``22_training`` are 21 and 22.

    A number is never cut: of ``case_10`` and ``case_11``, 10 and 11 are left. Names of which nothing is left, as of a
    single file, are kept whole.

    Example:
        >>> list(without_affixes({"21_training": Path("a"), "22_training": Path("b")}))
        ['21', '22']
    """
    names = list(files)
    prefix = re.sub(r"\d+$", "", _beginning(names))
    suffix = re.sub(r"^\d+", "", _beginning([name[::-1] for name in names])[::-1])
    rest = [name[len(prefix) : len(name) - len(suffix)] for name in names]
    if len(names) < 2 or not all(rest) or len(set(rest)) < len(rest):
        return dict(files)
    return dict(zip(rest, files.values(), strict=True))


def _beginning(names: Sequence[str]) -> str:
    """The letters that all names begin with."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in alike)
