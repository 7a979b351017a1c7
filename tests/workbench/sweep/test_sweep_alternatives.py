"""The grammar of one swept value: what is written is read back, ranges are exact, errors name the key."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import ConfigurationError
from workbench.overrides import parse_value, write_value
from workbench.sweep.alternatives import MOST, alternatives, split_commas

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text(
    "ab01,.[]{}()'\"\\ :#~-?&*!|>%@`\n\t=+/é\x85\u2028", max_size=8
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
WHOLE = st.integers(-500, 500)


@given(VALUES)
def test_a_value_that_is_written_is_read_back(value: object) -> None:
    text = write_value(value)
    assert "\n" not in text
    # As text, since True == 1 and 0.0 == -0.0.
    assert repr(parse_value(text)) == repr(value)


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_values_that_are_written_and_joined_are_read_back(values: list[object]) -> None:
    assert repr(alternatives("key", ",".join(map(write_value, values)))) == repr(values)


@given(WHOLE, st.integers(0, 300), st.integers(1, 9))
def test_ranges_of_integers_hold_both_ends(first: int, length: int, step: int) -> None:
    last = first + length
    assert alternatives("key", f"{first}..{last}..{step}") == list(range(first, last + 1, step))
    found = alternatives("key", f"{first}..{last}")
    assert found == list(range(first, last + 1))
    assert all(type(number) is int for number in found)


@given(WHOLE, st.integers(0, 200), st.integers(1, 60), st.integers(1, 4))
def test_ranges_by_steps_are_those_of_decimals(first: int, count: int, step: int, places: int) -> None:
    scale = Decimal(10) ** -places
    last = (first + count * step) * scale
    found = alternatives("key", f"{first * scale:f}..{last:f}..{step * scale:f}")
    expected = [float((first + step * index) * scale) for index in range(count + 1)]
    assert found == expected
    # The values are those that somebody would have typed one by one.
    assert found == [float(f"{(first + step * index) * scale:f}") for index in range(count + 1)]


@given(st.integers(-12, 3), st.integers(0, 12))
def test_ranges_by_factors_are_powers(first: int, count: int) -> None:
    found = alternatives("key", f"1e{first}..1e{first + count}*10")
    assert found == [float(f"1e{first + index}") for index in range(count + 1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bptt,sltt", ["bptt", "sltt"]),
        (" bptt , sltt ", ["bptt", "sltt"]),
        ("0..2,7,true,null", [0, 1, 2, 7, True, None]),
        ("1..2..0.3", [1.0, 1.3, 1.6, 1.9]),
        ("1e2..1e4*10", [100, 1000, 10000]),
        ("-1..1", [-1, 0, 1]),
        ("3..3", [3]),
        ("'0..2'", ["0..2"]),
        ("a..b", ["a..b"]),
        ("[128],[256, 256]", [[128], [256, 256]]),
        ("{a: 1, b: 2},3", [{"a": 1, "b": 2}, 3]),
        ("['a]', b],c", [["a]", "b"], "c"]),
        ("it's,a", ["it's", "a"]),
        ("'it''s, so',b", ["it's, so", "b"]),
        (r'"a\"b,c",d', ['a"b,c', "d"]),
    ],
)
def test_values(text: str, expected: list[object]) -> None:
    found = alternatives("key", text)
    assert found == expected
    assert [type(one) for one in found] == [type(one) for one in expected]


def test_commas_within_brackets_and_quotes_do_not_separate() -> None:
    assert split_commas("data_[1,2].npz,x") == ["data_[1,2].npz", "x"]
    assert split_commas("a],b") == ["a]", "b"]
    assert split_commas("") == [""]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "missing before or after a comma"),
        ("a,", "missing before or after a comma"),
        ("a,,b", "missing before or after a comma"),
        ("4..0", "runs upwards"),
        ("0..4..0", "runs upwards"),
        ("0..4..-1", "runs upwards"),
        ("0..4*2", "from above 0"),
        ("1..4*1", "a factor above 1"),
        ("1..4*0.5", "a factor above 1"),
        ("0..1e9", f"more than {MOST:,} values"),
        ("0..1e40", f"more than {MOST:,} values"),
        ("1..2*1.0000000000000000000000000000001", f"more than {MOST:,} values"),
        ("0..1e99999999999", "beyond reckoning"),
        ("[1,2", "cannot read"),
        ("'a", "cannot read"),
    ],
)
def test_errors_name_the_key(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=r"learner\.lr") as caught:
        alternatives("learner.lr", text)
    assert told in str(caught.value)


def test_a_range_may_be_as_long_as_is_allowed() -> None:
    assert len(alternatives("seed", f"1..{MOST}")) == MOST
