from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from workbench.errors import PluginError
from workbench.plugin import GROUPS, PluginConfig
from workbench.registry import PluginEntry, Registration, Registry


@pytest.fixture
def discovered(
    third_party: Path, faulty_plugins: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Registry]:
    """What is found with both packages installed; their modules are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(third_party)
    monkeypatch.syspath_prepend(faulty_plugins)
    yield Registry.discover()
    for name in set(sys.modules) - before:
        if name.startswith(("example_plugins", "faulty_plugins")):
            del sys.modules[name]


def learner(registry: Registry, package: str, name: str) -> PluginEntry:
    [entry] = [one for one in registry.entries("learner") if (one.package, one.name) == (package, name)]
    return entry


def test_an_installed_package_is_found_with_its_version_and_summary(discovered: Registry) -> None:
    [scenario] = [one for one in discovered.entries("scenario") if one.package == "example-plugins"]
    assert scenario == PluginEntry(
        "two-rates",
        "scenario",
        "example-plugins",
        "0.3.0",
        "ok",
        "",
        "Random spikes; a class is the one channel that fires more often.",
    )
    loaded = discovered.load("scenario", "two-rates")
    assert loaded.__name__ == "TwoRates"
    assert issubclass(loaded.Config, PluginConfig)
    assert discovered.load("scenario", "example-plugins:two-rates") is loaded


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lacks-a-module", "ModuleNotFoundError: No module named 'a_module_that_nobody_has'"),
        ("ends-the-program", "SystemExit: end of the program"),
        ("lacks-the-class", "AttributeError: module 'faulty_plugins' has no attribute 'NoSuchClass'"),
        (
            "not-a-class",
            "faulty_plugins:function is not a class; wanted a subclass of workbench.plugin.Rule or",
        ),
        ("no-plugin", "faulty_plugins:Unrelated is not a subclass of workbench.plugin.Rule or"),
        ("wrong-kind", "faulty_plugins:Place is not a subclass of"),
        ("wrong-settings", "WrongSettings.Config is not a subclass of workbench.plugin.PluginConfig"),
        ("reserved-setting", "ReservedSetting.Config has a field 'name', which is reserved"),
        ("dotted.name", "the name 'dotted.name' may hold only letters, digits, - and _"),
    ],
)
def test_a_broken_plugin_is_listed_with_the_reason_and_not_loaded(
    discovered: Registry, name: str, reason: str
) -> None:
    entry = learner(discovered, "faulty-plugins", name)
    assert entry.status == "broken"
    assert reason in entry.reason
    with pytest.raises(PluginError) as caught:
        discovered.load("learner", name)
    assert str(caught.value).startswith(f"learner '{name}' of faulty-plugins 0.0.1 is broken: ")
    assert reason in str(caught.value)


def test_the_cause_of_a_broken_plugin_is_kept_for_the_traceback(discovered: Registry) -> None:
    with pytest.raises(PluginError) as caught:
        discovered.load("learner", "lacks-a-module")
    assert caught.value.__cause__ is not None
    assert isinstance(caught.value.__cause__.__cause__, ModuleNotFoundError)


def test_what_a_plugin_prints_on_import_stays_out_of_standard_output(
    discovered: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    discovered.entries("learner")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "printed while it is imported" in captured.err


def test_one_name_from_two_packages_is_a_conflict_that_the_package_resolves(discovered: Registry) -> None:
    mine = learner(discovered, "example-plugins", "plain-gradient")
    theirs = learner(discovered, "faulty-plugins", "plain-gradient")
    assert (mine.status, theirs.status) == ("conflict", "conflict")
    assert mine.reason == "also registered by faulty-plugins; write learner=example-plugins:plain-gradient"
    with pytest.raises(
        PluginError, match=r"choose one: learner=.*:plain-gradient or learner=.*:plain-gradient"
    ):
        discovered.load("learner", "plain-gradient")
    assert discovered.load("learner", "example-plugins:plain-gradient").__name__ == "PlainGradient"
    assert discovered.load("learner", "faulty-plugins:plain-gradient").__name__ == "Fine"


def test_an_unknown_name_gets_the_nearest_and_the_list(sample_registry: Registry) -> None:
    with pytest.raises(PluginError) as caught:
        sample_registry.load("learner", "loacl")
    assert str(caught.value) == (
        "unknown learner 'loacl'; did you mean 'local'? (known: exact, local, replay, slow-weights)"
    )
    with pytest.raises(PluginError, match="known: samples:exact"):
        sample_registry.load("learner", "other:local")
    with pytest.raises(PluginError, match=r"unknown kind of plug-in 'learners'; did you mean learner\?"):
        sample_registry.entries("learners")
    with pytest.raises(PluginError, match="no scenario is registered"):
        Registry(()).load("scenario", "beeps")


def test_entries_are_ordered_by_kind_and_name(sample_registry: Registry) -> None:
    entries = sample_registry.entries()
    assert [(one.kind, one.name) for one in entries] == [
        ("scenario", "beeps"),
        ("scenario", "clicks"),
        ("learner", "exact"),
        ("learner", "local"),
        ("learner", "replay"),
        ("learner", "slow-weights"),
        ("backbone", "stack"),
        ("hardware", "perfect"),
    ]
    assert {one.status for one in entries} == {"ok"}


def test_nothing_is_imported_before_it_is_asked_for(
    third_party: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another test of this process may have run a plug-in of the package.
    for name in [one for one in sys.modules if one.startswith("example_plugins")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(third_party)
    Registry.discover()
    assert "example_plugins" not in sys.modules


def test_a_malformed_entry_point_breaks_itself_only(sample_registry: Registry) -> None:
    malformed = Registration("learner", EntryPoint("odd", "no class here!", GROUPS["learner"]), "odd", "")
    entries = Registry((*sample_registry.registrations, malformed)).entries("learner")
    assert [one.status for one in entries] == ["ok", "ok", "broken", "ok", "ok"]


def test_an_interrupt_is_not_taken_for_a_broken_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "interrupted_plugin.py").write_text("raise KeyboardInterrupt")
    monkeypatch.syspath_prepend(tmp_path)
    entry_point = EntryPoint("x", "interrupted_plugin:X", GROUPS["learner"])
    with pytest.raises(KeyboardInterrupt):
        Registry((Registration("learner", entry_point, "p", ""),)).entries()
