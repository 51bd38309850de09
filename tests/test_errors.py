import pickle

import pytest

from pipeline.errors import ConfigError, DatasetError, ModelError, OutputError, ScanError, UserError

KINDS = [ConfigError, DatasetError, ModelError, OutputError, ScanError]


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_says_expected_found_and_remedy(kind: type[UserError]) -> None:
    error = kind("a 3D scan", "an array of shape (64, 64)", "Give a volume.")
    assert str(error) == "Expected a 3D scan; found an array of shape (64, 64). Give a volume."


def test_a_list_of_problems_ends_before_the_remedy_begins() -> None:
    error = ConfigError("valid settings", "2 problems:\n  a: is missing\n  b: is negative\n", "Correct these keys.")
    assert str(error).splitlines() == [
        "Expected valid settings; found 2 problems:",
        "  a: is missing",
        "  b: is negative",
        "Correct these keys.",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_the_way_between_processes(kind: type[UserError]) -> None:
    error = pickle.loads(pickle.dumps(kind("one", "two", "Do three.")))
    assert type(error) is kind
    assert (error.expected, error.found, error.remedy) == ("one", "two", "Do three.")


def test_one_except_catches_every_error_of_users_and_no_fault_of_the_program() -> None:
    assert all(issubclass(kind, UserError) for kind in KINDS)
    assert not issubclass(UserError, ValueError | OSError)
