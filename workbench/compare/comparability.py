"""Which runs may stand in one table, what is refused, and what must be said beside the numbers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.compare.collect import (
    LOCATIONS,
    RunRecord,
    data_sets,
    differing,
    spelled,
    telling,
)
from workbench.compare.studies import STUDY_FILE, study_of
from workbench.errors import DataError

__all__ = ["PROTOCOL", "STUDY_FILE", "Block", "blocks", "notes", "notices"]

PROTOCOL = ("scenario.", "stream.")
"""Beginnings of the keys that say what is learned and tested, in what order."""
_SHOWN = 3


@dataclass(frozen=True)
class Block:
    """Runs that are comparable: of one scenario, one data set and one protocol, or mixed on demand.

    heading: what they have in common. warnings: what nobody may miss: mixed or synthetic data. mixed: whether it holds
    what is not comparable.
    """

    heading: str
    runs: tuple[RunRecord, ...]
    warnings: tuple[str, ...]
    mixed: bool = False


def blocks(records: Sequence[RunRecord], *, mix: bool = False) -> list[Block]:
    """Return the runs by what they were tested on, in the order in which it is first met; all in one with `mix`.

    Other settings of one scenario make a block of their own. So do other data sets if one study varies them; runs of
    other data sets that were put together by hand, and data that changed within a study, are refused with DataError.
    """
    data = data_sets(records)
    keys = [_protocol(record, its_data) for record, its_data in zip(records, data, strict=True)]
    parts = list({json.dumps(key, sort_keys=True): key for key in keys}.values())
    if mix:
        mixed = len(parts) > 1
        warning = (
            f"MIXED: {_difference(parts)}. These numbers are not comparable, and none is marked as best."
        )
        said = [*([warning] if mixed else []), *notices(records)]
        return [Block(_heading(parts), tuple(records), tuple(said), mixed)]
    _refuse_other_data(records, data)
    told = differing(parts)
    found = []
    for part, its_differing in zip(parts, told, strict=True):
        runs = tuple(record for record, key in zip(records, keys, strict=True) if key == part)
        found.append(Block(_heading([part], its_differing), runs, tuple(notices(runs))))
    return found


def notices(records: Iterable[RunRecord]) -> list[str]:
    """Return what must be said of the data with every result on it, once each."""
    found: dict[str, None] = {}
    for record in records:
        dataset = record.results["dataset"]
        text = str(dataset.get("notice") or "")
        if dataset.get("synthetic"):
            text = text or "Results on it say nothing about recorded data."
            text = f"SYNTHETIC DATA ({dataset.get('name')}): {text}"
        if text:
            found[text] = None
    return list(found)


def notes(records: Sequence[RunRecord]) -> list[str]:
    """Return what else differs among comparable runs: settings besides the learner's, code, packages, machine."""
    settings = [telling(record.settings) for record in records]
    kept = {
        key: None
        for one in differing(settings)
        for key in one
        if not key.startswith(("learner", "scenario", "stream.")) and key != "train.evaluate"
    }
    found = [f"also differs: {key} ({_values(one.get(key) for one in settings)})" for key in kept]
    circumstances: dict[str, Callable[[RunRecord], Any]] = {
        "code": _code,
        "threads": lambda run: run.environment.get("threads", run.settings.get("threads")),
        "device": lambda run: run.environment.get("device"),
        "processor": lambda run: (run.environment.get("machine") or {}).get("cpu"),
        "python": lambda run: run.environment.get("python"),
    }
    for name, read in circumstances.items():
        values = [value for value in map(read, records) if value is not None]
        if len(set(values)) > 1:
            warning = "; times are not comparable" if name in ("threads", "device", "processor") else ""
            found.append(f"{name} differs ({_values(values)}){warning}")
    return found + _tables(records) + _packages(records)


def _tables(records: Sequence[RunRecord]) -> list[str]:
    """Return a note if energies do not all come from one table."""
    used = dict.fromkeys(
        str(energy["table"])
        for run in records
        if (energy := run.results.get("energy")) and energy.get("table")
    )
    told = "energies are by different tables ({}); cost.table=NAME takes one for all"
    return [told.format(", ".join(used))] if len(used) > 1 else []


def _protocol(record: RunRecord, data: str) -> dict[str, Any]:
    settings = telling(record.settings)
    kept = {key: value for key, value in settings.items() if key.startswith(PROTOCOL) or key == "scenario"}
    return {**kept, "train.evaluate": settings.get("train.evaluate"), "data": data}


def _refuse_other_data(records: Sequence[RunRecord], data: Sequence[str]) -> None:
    """Raise DataError when the runs' data differ and no study asked for that."""
    studies = {study_of(record.folder) for record in records}
    asked = len(studies) == 1 and None not in studies
    settled: dict[str, set[str]] = {}
    for record, its_data in zip(records, data, strict=True):
        of_data = {key: value for key, value in record.settings.items() if key.startswith("scenario")}
        settled.setdefault(json.dumps(of_data, sort_keys=True) if asked else "", set()).add(
            f"{record.settings['scenario']} on {its_data}"
        )
    if all(len(names) == 1 for names in settled.values()):
        return
    lines = ["these runs are not comparable, they learn from different data:"]
    members: dict[str, list[RunRecord]] = {}
    for record, its_data in zip(records, data, strict=True):
        members.setdefault(f"{record.settings['scenario']} on {its_data}", []).append(record)
    for name, runs in members.items():
        folders = ", ".join(str(run.folder) for run in runs[:_SHOWN])
        more = f" and {len(runs) - _SHOWN} more" if len(runs) > _SHOWN else ""
        lines.append(f"  {name}: {folders}{more}")
    if asked:
        lines.append(
            "the study's settings are the same, so its data changed between them: see scenario.path, .source"
        )
    lines.append("name runs of one data set, or put all into one table with --mix")
    raise DataError("\n".join(lines))


def _heading(parts: Sequence[dict[str, Any]], told: dict[str, Any] | None = None) -> str:
    name = " and ".join(dict.fromkeys(f"{part['scenario']} on {part['data']}" for part in parts))
    shown = [
        f"{key.removeprefix('scenario.')}={spelled(value)}"
        for key, value in (told or {}).items()
        if key not in ("scenario", "data", *LOCATIONS)
    ]
    # The setting is what results cannot be read without.
    setting = parts[0].get("scenario.setting")
    if not told and setting is not None and all(part.get("scenario.setting") == setting for part in parts):
        shown.append(f"setting={setting}")
    return ", ".join([name, *shown])


def _difference(parts: Sequence[dict[str, Any]]) -> str:
    keys = {key: None for one in differing(parts) for key in one}
    return "; ".join(f"{key} differs ({_values(part.get(key) for part in parts)})" for key in keys)


def _values(values: Iterable[Any]) -> str:
    different = list(dict.fromkeys(spelled(value) for value in values))
    more = [f"{len(different) - _SHOWN} more"] if len(different) > _SHOWN + 1 else []
    return ", ".join(different[:_SHOWN] + more if more else different)


def _code(record: RunRecord) -> str | None:
    code = (record.results.get("versions") or {}).get("code") or {}
    commit = code.get("commit")
    return None if commit is None else str(commit)[:10] + (" with changes" if code.get("dirty") else "")


def _packages(records: Sequence[RunRecord]) -> list[str]:
    given = [(record.results.get("versions") or {}).get("packages") or {} for record in records]
    found = []
    for name in sorted({name for packages in given for name in packages}):
        versions = Counter(str(packages[name]) for packages in given if name in packages)
        if len(versions) > 1:
            found.append(f"package {name} differs ({', '.join(sorted(versions))})")
    return found
