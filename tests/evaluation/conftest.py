"""What the tests of evaluations have in common."""

import pytest


@pytest.fixture(autouse=True)
def _blank_figures(blank_figures: None) -> None:
    """In every test here."""
