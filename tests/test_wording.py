import pytest

from pipeline.wording import count_of, enumerate_names


@pytest.mark.parametrize(
    ("count", "text"), [(0, ""), (1, "a"), (3, "a, b, c"), (4, "a, b, c and 1 more"), (6, "a, b, c and 3 more")]
)
def test_names_beyond_the_first_are_counted(count: int, text: str) -> None:
    assert enumerate_names("abcdef"[:count], shown=3) == text


def test_one_is_singular_and_other_numbers_are_plural() -> None:
    assert [count_of(count, "case") for count in (0, 1, 2)] == ["0 cases", "1 case", "2 cases"]
