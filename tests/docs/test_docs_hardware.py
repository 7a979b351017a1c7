"""The page about hardware: its tables, settings, commands and counts are those of the code."""

import re
import shlex
import typing
from pathlib import Path

import pytest
import torch

from benchmarks import hardware_tables
from workbench.config import resolve
from workbench.fields import describe_fields
from workbench.hardware.programmed_array import ProgrammedArray
from workbench.hardware.programmed_settings import ProgrammedConfig, ProgrammedHardware
from workbench.hardware.pulsed import Pulsed
from workbench.hardware.pulsed_array import PulsedArray
from workbench.hardware.pulsed_settings import PulsedConfig
from workbench.hardware.quantised import Quantised
from workbench.hardware.quantised_array import make_array
from workbench.plugin import Hardware
from workbench.registry import Registry, summary_of

PAGE = (Path(__file__).parents[2] / "docs" / "hardware.md").read_text(encoding="utf-8")
REGISTRY = Registry.discover()
DEVICES = hardware_tables.devices(REGISTRY, Hardware)
PRESETS = {name: kind for name, kind in DEVICES.items() if issubclass(kind, Pulsed) and kind is not Pulsed}


def section(title):
    [found] = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return found


def rows(text):
    """Return the first cells of a table's rows, each its words between backticks."""
    return [
        re.findall(r"`([^`]+)`", line.split("|")[1]) for line in text.splitlines() if line.startswith("| `")
    ]


@pytest.mark.parametrize("name", ["programmed", "drift", "pulsed"])
def test_tables_say_what_the_devices_are(name):
    made = getattr(hardware_tables, name)
    wanted = made() if name == "drift" else made(REGISTRY)
    found = hardware_tables.place(name).search(PAGE)
    assert found[0].strip() == wanted, "out of date; run: python -m benchmarks.hardware_tables --write"


def test_every_device_is_in_one_table_or_told_in_words():
    listed = [name for cells in rows(hardware_tables.programmed(REGISTRY)) for name in cells]
    listed += [name for cells in rows(hardware_tables.pulsed(REGISTRY)) for name in cells]
    assert sorted([*listed, "ideal", "quantised"]) == sorted(DEVICES)
    assert "`ideal`" in PAGE
    assert "`quantised`" in section("Digital weights")


def test_settings_that_the_page_names_exist():
    known = {
        field.key: field for kind in DEVICES.values() for field in describe_fields(kind.Config, "hardware")
    }
    named = re.findall(r"hardware\.([a-z_0-9]+)(?:=([\w.-]+))?(?: \((\d[\w.]*)\))?", PAGE)
    assert len(named) > 40
    for key, value, default in named:
        assert f"hardware.{key}" in known, key
        if value and known[f"hardware.{key}"].type.replace("|", "").replace(" ", "").isidentifier():
            assert value
        if default:
            assert float(default) == known[f"hardware.{key}"].default, key


@pytest.mark.parametrize(("first", "config"), [(0, ProgrammedConfig), (1, PulsedConfig)])
def test_every_way_of_writing_is_told(first, config):
    told = re.findall(r"^\| `hardware\.update`.*\n\|.*\n((?:\| `.*\n)+)", section("Writing"), re.MULTILINE)[
        first
    ]
    choices = typing.get_args(config.model_fields["update"].annotation)
    assert sorted(name for cells in rows(told) for name in cells) == sorted(choices)
    default = config.model_fields["update"].default
    [line] = [line for line in told.splitlines() if line.startswith(f"| `{default}` ")]
    assert "the default" in line
    assert told.count("the default") == 1


def test_commands_resolve():
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line, comments=True)[1:] for block in blocks for line in block.splitlines()]
    assert len(lines) >= 9
    for words in lines:
        if words[0] == "run":
            resolve(words[1:])
        else:
            assert words[0] in ("list", "show", "check")
            assert words[1] == "hardware"
            assert not words[2:] or words[2] in DEVICES


def test_what_devices_count_is_told():
    """The facts of arrays of every kind and every way of writing."""
    generator, weights = torch.Generator().manual_seed(0), torch.ones(2, 3)
    arrays = [make_array(weights, Quantised.Config(), generator)]
    ways = typing.get_args(PulsedConfig.model_fields["update"].annotation)
    arrays += [PulsedArray(weights, Pulsed.Config(update=way), generator) for way in ways]
    arrays.append(PulsedArray(weights, DEVICES["pcm-pair"].Config(), generator))
    pcm = DEVICES["pcm"](DEVICES["pcm"].Config())
    arrays.append(ProgrammedArray(weights, pcm.device(), pcm.config, generator))
    told = section("What a run says")
    facts = {name for array in arrays for name in array.facts()}
    assert {"saturated", "compensation", "transfers", "refreshed"} <= facts
    assert [name for name in sorted(facts) if f"`{name}`" not in told] == []


@pytest.mark.parametrize("name", PRESETS)
def test_the_summary_of_a_preset_tells_its_states_and_its_year(name):
    kind = PRESETS[name]
    summary = summary_of(kind)
    assert re.search(r"(19|20)\d\d", kind.Config.__doc__ + summary), "names no paper"
    told = re.search(r"(\d[\d ]*) (?:equal steps|states)", summary)
    if told is not None:
        assert int(told[1].replace(" ", "")) == round(kind.Config().levels)
    else:
        assert name in ("pcm-pair",)


@pytest.mark.parametrize("name", DEVICES)
def test_a_summary_fits_a_line_of_the_list(name):
    summary = summary_of(DEVICES[name])
    assert summary.endswith(".")
    assert 20 <= len(summary) <= 120


def test_settings_of_its_own_are_what_a_device_does_not_share():
    assert hardware_tables.own_settings(DEVICES["pcm"]) == ["fit", "g_max", "t_0", "read_seconds"]
    assert issubclass(DEVICES["pcm"], ProgrammedHardware)


def test_responses_of_a_soft_bound_follow_its_formula():
    up, down, shrunk = hardware_tables.responses(DEVICES["reram-sb"].Config())
    assert (up, down, shrunk) == pytest.approx((0.002, 0.002, 0.001))


def test_the_program_writes_checks_and_prints(monkeypatch, tmp_path, capsys):
    page = tmp_path / "hardware.md"
    monkeypatch.setattr(hardware_tables, "DOCUMENT", page)
    monkeypatch.setattr(hardware_tables, "tables", lambda registry: {"a": "| x |", "b": "| y |"})
    place = "<!-- table: {} -->\n<!-- end of table -->\n"
    page.write_text("one\n" + place.format("a") + "two\n" + place.format("b"))
    assert hardware_tables.main(["--check"]) == 1
    assert "--write" in capsys.readouterr().err
    assert hardware_tables.main(["--write"]) == 0
    assert hardware_tables.main(["--check"]) == 0
    assert page.read_text() == (
        "one\n<!-- table: a -->\n| x |\n<!-- end of table -->\ntwo\n<!-- table: b -->\n| y |\n<!-- end of table -->\n"
    )
    assert hardware_tables.main([]) == 0
    assert capsys.readouterr().out == "| x |\n\n| y |\n"
    page.write_text("no place")
    with pytest.raises(ValueError, match="no place for the table 'a'"):
        hardware_tables.main(["--write"])
