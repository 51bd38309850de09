"""Names as MLflow takes them."""

from pipeline.tracking.names import flat_settings, legal_names


def test_names_that_come_out_as_one_are_told_apart() -> None:
    assert legal_names(["a", "a+b", "a,b", "a b", "a&b", "a_b_2"]) == {
        "a": "a",
        "a+b": "a_b",
        "a,b": "a_b_2",
        "a b": "a b",
        "a&b": "a_b_3",
        "a_b_2": "a_b_2_2",
    }


def test_nested_settings_get_dotted_names_and_long_values_are_cut() -> None:
    assert flat_settings({"a": {"b": 1, "c": {}}, "d": "x" * 600}) == {"a.b": "1", "a.c": "{}", "d": "x" * 500}
