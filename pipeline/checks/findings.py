"""What is wrong, and with what: findings, and how they are told."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Self

from pipeline.errors import UserError
from pipeline.wording import count_of, enumerate_names, printable

Severity = Literal["error", "warning"]
Problem = tuple[Severity, str, str, str]
"""What findings of several cases have in common: severity, expected, found, remedy."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        severity: an error stands in the way of training; a warning is worth a look.
        case: the case's name; empty where the data set as a whole is meant.
        expected: what the case should have, as a noun phrase.
        found: what it has instead.
        remedy: what to do about it, as an instruction.
        file: the file that it is about, where there is one; apart from ``found``, so that what many cases have in
            common reads as one finding.
    """

    severity: Severity
    case: str
    expected: str
    found: str
    remedy: str
    file: str = ""

    @classmethod
    def of(cls, case: str, error: UserError, file: str = "") -> Self:
        """An error that something raised, as a finding."""
        return cls("error", case, error.expected, error.found, error.remedy, file)


def format_findings(findings: Iterable[Finding], shown: int | None = None) -> str:
    """A report to read: errors first, cases with the same finding together.

    Args:
        findings: in any order.
        shown: paragraphs after which only the number of the others is given; None shows all.
    """
    grouped: dict[Problem, list[str]] = defaultdict(list)
    for finding in findings:
        grouped[finding.severity, finding.expected, finding.found, finding.remedy].append(_place(finding))
    if not grouped:
        return "No problems found."
    ordered = sorted(grouped.items(), key=lambda item: item[0][0])
    paragraphs = [_paragraph(problem, places) for problem, places in ordered[:shown]]
    hidden = len(ordered) - len(paragraphs)
    rest = [f"and {count_of(hidden, 'other problem')}"] if hidden else []
    return printable("\n\n".join([_summary(grouped), *paragraphs, *rest]))


def _place(finding: Finding) -> str:
    return f"{finding.case} ({finding.file})" if finding.file else finding.case


def _summary(grouped: Mapping[Problem, list[str]]) -> str:
    counts: dict[Severity, int] = {"error": 0, "warning": 0}
    for key, cases in grouped.items():
        counts[key[0]] += len(cases)
    return ", ".join(count_of(count, severity) for severity, count in counts.items() if count)


def _paragraph(problem: Problem, places: list[str]) -> str:
    severity, expected, found, remedy = problem
    named = [place for place in places if place]
    where = [f"  cases     {enumerate_names(named)}"] if named else []
    lines = [f"{severity.upper()}: expected {expected}", f"  found     {found}", *where, f"  remedy    {remedy}"]
    return "\n".join(lines)
