"""Options that the benchmarks' command lines share."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LearnerChoice:
    """A rule and settings as they were asked for: `sltt:steps=25` has name `sltt:steps=25` and rule `sltt`."""

    name: str
    rule: str
    settings: tuple[tuple[str, str], ...] = ()

    def overrides(self, steps: int) -> dict[str, str]:
        """Return the settings as overrides, a key without a dot being the learner's.

        The value `T/4` is a quarter of the `steps` of a sequence, at least one.

        >>> learners("sltt:steps=T/4")[0].overrides(100)
        {'learner.steps': '25'}
        """
        return {
            key if "." in key else f"learner.{key}": _share_of(value, steps) for key, value in self.settings
        }


def _share_of(value: str, steps: int) -> str:
    found = re.fullmatch(r"T(?:/([1-9]\d*))?", value)
    return value if found is None else str(max(1, steps // int(found[1] or 1)))


def learners(text: str) -> tuple[LearnerChoice, ...]:
    """Return the learners of `bptt,sltt:steps=25,osttp:backbone.reset=hard`. Raises argparse.ArgumentTypeError.

    Each is NAME[:KEY=VALUE[;KEY=VALUE...]]; commas within brackets do not separate.

    >>> [choice.name for choice in learners("bptt,osttp:backbone.decay=[0.9,0.98];chunk=50")]
    ['bptt', 'osttp:backbone.decay=[0.9,0.98];chunk=50']
    """
    choices = tuple(_learner(part.strip()) for part in re.split(r",(?![^\[(]*[\])])", text))
    names = [choice.name for choice in choices]
    for name in names:
        if names.count(name) > 1:
            raise argparse.ArgumentTypeError(f"{name} is given twice")
    return choices


def _learner(text: str) -> LearnerChoice:
    rule, colon, rest = text.partition(":")
    if not rule:
        raise argparse.ArgumentTypeError(
            "an entry is empty" if not text else f"{text!r}: no learner is named"
        )
    if "+" in rule:
        raise argparse.ArgumentTypeError(f"{text!r}: rules are timed alone, without modifiers")
    settings = []
    for part in rest.split(";") if colon else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (key and equals and value):
            raise argparse.ArgumentTypeError(
                f"{text!r}: {part!r} is no KEY=VALUE; write NAME or NAME:KEY=VALUE;KEY=VALUE, "
                "such as sltt:steps=25"
            )
        settings.append((key, value))
    return LearnerChoice(text, rule, tuple(settings))


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


def add_learners(
    parse: argparse.ArgumentParser, default: tuple[LearnerChoice, ...] | None, told: str
) -> None:
    """Add `--learner`; `told` describes the default."""
    parse.add_argument(
        "--learner",
        type=learners,
        default=default,
        metavar="NAME[:KEY=VALUE[;KEY=VALUE]],...",
        help="rules, with settings if wanted, such as sltt:steps=25 or 'osttp:backbone.reset=hard;chunk=50'; "
        f"a key without a dot is the learner's, T/4 a quarter of the steps (default: {told})",
    )


def add_network(parse: argparse.ArgumentParser, hidden: tuple[int, ...] = (200, 200)) -> None:
    """Add the network that is trained: `--backbone`, `--recurrent`, `--inputs`, `--hidden`, `--classes`."""
    parse.add_argument(
        "--backbone",
        choices=("lif", "snu", "ssnu", "lru"),
        default="lif",
        help="network (default: %(default)s)",
    )
    parse.add_argument("--recurrent", action="store_true", help="recurrent synapses in all hidden layers")
    parse.add_argument("--inputs", type=positive, default=700, help="input channels (default: %(default)s)")
    told = ",".join(map(str, hidden))
    parse.add_argument("--hidden", type=numbers, default=hidden, help=f"hidden widths (default: {told})")
    parse.add_argument("--classes", type=positive, default=20, help="classes (default: %(default)s)")


def add_cpu_time(parse: argparse.ArgumentParser) -> None:
    """Add `--cpu-time`."""
    parse.add_argument(
        "--cpu-time", action="store_true", help="compare processor time: for a busy machine, with one thread"
    )


def add_json(parse: argparse.ArgumentParser, what: str) -> None:
    """Add `--json FILE`."""
    parse.add_argument("--json", type=Path, metavar="FILE", help=f"write {what}")
