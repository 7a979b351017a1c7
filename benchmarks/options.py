"""Options that the benchmarks' command lines share."""

from __future__ import annotations

import argparse
from pathlib import Path


def numbers(text: str, least: int = 1) -> tuple[int, ...]:
    """Return the whole numbers of `200,200`, none below `least`. Raises argparse.ArgumentTypeError.

    >>> numbers("200,100")
    (200, 100)
    """
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers such as 200,200") from None
    if min(values) < least:
        raise argparse.ArgumentTypeError(f"{text!r}: numbers must be at least {least}")
    return values


def positive(text: str) -> int:
    """Return one positive whole number. Raises argparse.ArgumentTypeError."""
    values = numbers(text)
    if len(values) > 1:
        raise argparse.ArgumentTypeError(f"{text!r}: one number is wanted")
    return values[0]


def seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of `0,1,2`. Raises argparse.ArgumentTypeError."""
    return numbers(text, least=0)


def words(text: str) -> tuple[str, ...]:
    """Return the words of `bptt,osttp`. Raises argparse.ArgumentTypeError.

    >>> words("bptt,osttp")
    ('bptt', 'osttp')
    """
    found = tuple(part.strip() for part in text.split(","))
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r}: an entry is empty")
    return found


def command_line(module: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser that shows the module's docstring as its help."""
    return argparse.ArgumentParser(
        f"python -m benchmarks.{module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_cpu_time(parse: argparse.ArgumentParser) -> None:
    """Add `--cpu-time`."""
    parse.add_argument(
        "--cpu-time", action="store_true", help="compare processor time: for a busy machine, with one thread"
    )


def add_json(parse: argparse.ArgumentParser, what: str) -> None:
    """Add `--json FILE`."""
    parse.add_argument("--json", type=Path, metavar="FILE", help=f"write {what}")
