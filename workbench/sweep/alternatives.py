"""The grammar of one swept value: `bptt,sltt` and `0..4` and `1e-4..1e-2*10`; text in, a list of values out."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from workbench.errors import ConfigurationError
from workbench.overrides import parse_value_of

MOST = 10_000
"""Values of one range; a longer one is a slip of the pen."""

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?:\.\.({_NUMBER})|\*({_NUMBER}))?")
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_OPENING, _CLOSING = "[{(", "]})"


def alternatives(key: str, text: str) -> list[Any]:
    """Return the values that `text` names for `key`: parts between commas, ranges spelled out.

    A comma inside brackets or quotes is part of a value. Ranges hold both ends: `0..4`, `0..1..0.25` by steps,
    `1e-4..1e-2*10` by factors. Raises ConfigurationError naming `key` for an empty part or a range that never ends.

    >>> alternatives("seed", "0..2,7")
    [0, 1, 2, 7]
    >>> alternatives("backbone.hidden", "[128],[256, 256]")
    [[128], [256, 256]]
    >>> alternatives("learner.lr", "1e-4..1e-2*10")
    [0.0001, 0.001, 0.01]
    """
    parts = split_commas(text)
    if any(not part.strip() for part in parts):
        raise ConfigurationError(f"{key}={text}: a value is missing before or after a comma")
    values: list[Any] = []
    for part in parts:
        found = spelled_out(key, part.strip())
        values += [parse_value_of(key, part)] if found is None else found
    return values


def split_commas(text: str) -> list[str]:
    """Return the parts of a text between the commas that stand outside of brackets and quotes.

    Quotes are those of YAML: '' stands for one within single quotes, a backslash protects what follows within double
    ones, and an apostrophe in the midst of a word is none.

    >>> split_commas("[1, '2],'],'a,b',c")
    ["[1, '2],']", "'a,b'", 'c']
    """
    parts, depth, place = [""], 0, 0
    while place < len(text):
        letter = text[place]
        quoted = _QUOTED.match(text, place) if _begins_value(parts[-1], depth) else None
        if quoted is not None:
            parts[-1] += quoted[0]
            place = quoted.end()
            continue
        place += 1
        if letter == "," and depth <= 0:
            parts.append("")
            depth = 0
            continue
        depth += (letter in _OPENING) - (letter in _CLOSING)
        parts[-1] += letter
    return parts


def _begins_value(before: str, depth: int) -> bool:
    """Tell whether a value may begin behind the part of a text: there alone do quotation marks quote."""
    behind = before.rstrip()
    return not behind or (depth > 0 and behind[-1] in f"{_OPENING},:")


def spelled_out(key: str, text: str) -> list[int | float] | None:
    """Return the numbers of a range, or None for a text that is no range. Raises ConfigurationError.

    Decimal arithmetic: 0..0.3..0.1 ends at 0.3, which binary fractions would miss. Whole numbers are integers, however
    they are written: 1e2..1e4*10 will do for a number of samples.

    >>> spelled_out("learner.lr", "0..0.3..0.1")
    [0.0, 0.1, 0.2, 0.3]
    """
    match = _RANGE.fullmatch(text)
    if match is None:
        return None
    try:
        first, last = Decimal(match[1]), Decimal(match[2])
        if match[4] is not None:
            found = _geometric(key, text, first, last, Decimal(match[4]))
        else:
            found = _arithmetic(key, text, first, last, Decimal(match[3] or 1))
    except ArithmeticError as error:
        raise ConfigurationError(f"{key}={text}: numbers beyond reckoning") from error
    whole = all(number == number.to_integral_value() for number in found)
    return [int(number) if whole else float(number) for number in found]


def _arithmetic(key: str, text: str, first: Decimal, last: Decimal, step: Decimal) -> list[Decimal]:
    if step <= 0 or last < first:
        raise ConfigurationError(f"{key}={text}: a range runs upwards, FIRST..LAST or FIRST..LAST..STEP")
    count = int((last - first) / step) + 1
    _check_length(key, text, count)
    return [first + step * index for index in range(count)]


def _geometric(key: str, text: str, first: Decimal, last: Decimal, factor: Decimal) -> list[Decimal]:
    if factor <= 1 or first <= 0 or last < first:
        raise ConfigurationError(
            f"{key}={text}: a range by factors runs upwards from above 0, FIRST..LAST*FACTOR with a factor above 1"
        )
    found = [first]
    while found[-1] * factor <= last:
        found.append(found[-1] * factor)
        _check_length(key, text, len(found))
    return found


def _check_length(key: str, text: str, count: int) -> None:
    if count > MOST:
        raise ConfigurationError(f"{key}={text}: more than {MOST:,} values")
