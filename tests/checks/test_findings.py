"""Findings, and the report of them."""

from pipeline.checks.findings import Finding, format_findings

# --- The report


def test_no_findings_make_a_short_report() -> None:
    assert format_findings([]) == "No problems found."


def test_the_report_counts_and_puts_cases_with_the_same_finding_together() -> None:
    findings = [
        Finding("warning", "", "names of the labels", "none", "Name them."),
        *(Finding("error", f"c{index}", "a whole file", "half of one", "Copy it again.") for index in range(7)),
        Finding("error", "d", "a mask on its image's grid", "another shape", "Find it."),
    ]
    assert format_findings(findings) == (
        "8 errors, 1 warning\n"
        "\n"
        "ERROR: expected a whole file\n"
        "  found     half of one\n"
        "  cases     c0, c1, c2, c3, c4 and 2 more\n"
        "  remedy    Copy it again.\n"
        "\n"
        "ERROR: expected a mask on its image's grid\n"
        "  found     another shape\n"
        "  cases     d\n"
        "  remedy    Find it.\n"
        "\n"
        "WARNING: expected names of the labels\n"
        "  found     none\n"
        "  remedy    Name them."
    )


def test_files_with_the_same_problem_are_one_paragraph() -> None:
    findings = [Finding("error", name, "a mask", "none", "Add it.", f"images/{name}.nii") for name in "ab"]
    assert format_findings(findings).splitlines()[2:] == [
        "ERROR: expected a mask",
        "  found     none",
        "  cases     a (images/a.nii), b (images/b.nii)",
        "  remedy    Add it.",
    ]


def test_a_short_report_says_how_many_problems_it_leaves_out() -> None:
    findings = [Finding("error", "a", "one", str(index), "Mend it.") for index in range(5)]
    report = format_findings(findings, shown=2)
    assert report.startswith("5 errors\n\nERROR: expected one\n  found     0\n")
    assert report.endswith("  found     1\n  cases     a\n  remedy    Mend it.\n\nand 3 other problems")
