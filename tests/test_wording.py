import pytest

from pipeline.wording import count_of, enumerate_names, folder_name


@pytest.mark.parametrize(
    ("count", "text"), [(0, ""), (1, "a"), (3, "a, b, c"), (4, "a, b, c and 1 more"), (6, "a, b, c and 3 more")]
)
def test_names_beyond_the_first_are_counted(count: int, text: str) -> None:
    assert enumerate_names("abcdef"[:count], shown=3) == text


def test_one_is_singular_and_other_numbers_are_plural() -> None:
    assert [count_of(count, "case") for count in (0, 1, 2)] == ["0 cases", "1 case", "2 cases"]


def test_a_name_that_no_file_system_takes_is_cut_and_stays_apart_from_others() -> None:
    long = ["\N{LATIN SMALL LETTER U WITH DIAERESIS}" * 150 + end for end in "ab"]
    names = [folder_name(name) for name in long]
    assert [len(name.encode()) for name in names] == [200, 200]
    assert names[0] != names[1]
    assert all(name.startswith("\N{LATIN SMALL LETTER U WITH DIAERESIS}" * 95 + "__") for name in names)
    assert folder_name("a" * 200) == "a" * 200


def test_a_name_has_one_line_and_no_byte_that_cannot_be_printed() -> None:
    assert folder_name("a\nb\udcff\x7f") == "a%0Ab%FF%7F"
