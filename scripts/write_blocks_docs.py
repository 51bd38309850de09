"""Puts the newest measurements of `acceptance.py blocks` into the table of docs/blocks.md."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "blocks.md"
RECORDS = ROOT / "docs" / "acceptance"
DATA = {"hippocampus": "hippocampus, {} test cases", "isbi2012": "membranes, {} slices"}
START, END = "<!-- measured -->\n", "<!-- /measured -->"
HEADINGS = (
    "data",
    "network",
    "Dice (95 % interval)",
    "against the first (95 % interval)",
    "parameters",
    "GFLOP a patch",
    "seconds",
)


def page() -> str:
    """The page with the table of the newest records in place of the one that it has."""
    text = PAGE.read_text(encoding="utf-8")
    assert text.count(START) == text.count(END) == 1, "the table's place is between the two comments"
    rows = [HEADINGS, ["---"] * len(HEADINGS), *(row for name in DATA for row in _rows(name))]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return re.sub(f"(?s)({START}).*?({END})", lambda found: f"{found[1]}\n{table}\n{found[2]}", text)


def _rows(name: str) -> Iterator[list[str]]:
    records = sorted(RECORDS.glob(f"*-blocks-{name}.json"))  # names begin with the date
    if not records:
        raise SystemExit(f"Expected a record *-blocks-{name}.json in {RECORDS}; found none. Run acceptance.py blocks.")
    for network, measured in json.loads(records[-1].read_text(encoding="utf-8"))["results"].items():
        yield [
            DATA[name].format(measured["cases"]),
            network,
            f"{measured['mean_dice']:.3f} ({_interval(measured)})",
            _difference(measured.get("against the first")),
            f"{measured['parameters']:,}".replace(",", " "),
            f"{measured['gflop']:.1f}",
            f"{measured['seconds']:.0f}",
        ]


def _interval(measured: dict[str, Any]) -> str:
    """Each label's interval; its name only where there are several."""
    labels = measured["dice"]
    return "; ".join(
        (f"{label}: " if len(labels) > 1 else "") + "{:.3f} to {:.3f}".format(*dice["ci95"])
        for label, dice in labels.items()
    )


def _difference(tested: dict[str, Any] | None) -> str:
    if tested is None:
        return ""
    return "{:+.3f} ({:+.3f} to {:+.3f})".format(tested["mean_difference"], *tested["ci95"])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
