"""Devices as a person meets them: listed without being built, shown setting by setting, corrected when misspelt."""

import inspect

import pytest

from workbench.config import resolve
from workbench.errors import WorkbenchError
from workbench.fields import describe_fields
from workbench.hardware.pulsed_settings import PulsedConfig, preset
from workbench.plugin import LazyConfig, PluginConfig
from workbench.registry import Registry

REGISTRY = Registry.discover()
NAMES = [entry.name for entry in REGISTRY.entries("hardware") if entry.package == "continual-workbench"]


def test_listing_devices_makes_no_settings_of_presets():
    registry = Registry.discover()
    entries = {entry.name: entry for entry in registry.entries("hardware")}
    assert {"ideal", "quantised", "pcm", "reram-om", "ecram", "pulsed"} <= entries.keys()
    assert all(entry.status == "ok" for entry in entries.values())
    lazy = {
        name: config
        for name in entries
        if isinstance(config := inspect.getattr_static(registry.load("hardware", name), "Config"), LazyConfig)
    }
    assert len(lazy) >= 10
    assert all(issubclass(config.base, PulsedConfig) for config in lazy.values())


def test_settings_are_made_once_when_they_are_asked_for():
    made = []

    class Settings(PluginConfig):
        pass

    class Holder:
        Config = LazyConfig(PluginConfig, lambda: made.append(1) or Settings)

    assert made == []
    assert Holder.Config is Settings
    assert Holder().Config is Settings
    assert made == [1]


def test_a_preset_changes_defaults_and_nothing_else():
    class Holder:
        Config = preset("ExampleConfig", "nobody 2020", dw_min=0.25, step="linear")

    fields, base = Holder.Config.model_fields, PulsedConfig.model_fields
    assert list(fields) == list(base)
    changed = {name for name in base if fields[name].default != base[name].default}
    assert changed == {"dw_min", "step"}
    assert fields["dw_min"].description == f"{base['dw_min'].description} (nobody 2020)"
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        Holder.Config(dw_min=-1.0)
    assert Holder.Config().dw_min == 0.25


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_of_a_device_is_told(name):
    kind = REGISTRY.load("hardware", name)
    for field in describe_fields(kind.Config, "hardware"):
        assert field.description, field.key
        assert not field.required, field.key
    kind.Config()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["hardware=reram_om"], "did you mean 'reram-om'?"),
        (["hardware=pmc"], "did you mean 'pcm'?"),
        (["hardware=ecram", "hardware.update=tikitaka"], "did you mean tiki-taka?"),
        (["hardware=pcm", "hardware.drfit=0"], "did you mean hardware.drift?"),
        (["hardware=pcm", "hardware.fit=jochi"], "did you mean joshi?"),
        (["hardware=quantised", "hardware.bits=1"], "2 and more"),
        (["hardware=pulsed", "hardware.dw_min=0", "hardware.update=tiki-taka"], "no steps to send"),
    ],
)
def test_what_is_misspelt_is_corrected(words, hint):
    with pytest.raises(WorkbenchError, match=r"hardware") as caught:
        resolve(["scenario=split-digits", *words])
    assert hint in str(caught.value)
