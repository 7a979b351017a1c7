"""The axes along which devices are made worse: which devices have them, and how values are told."""

from __future__ import annotations

from typing import ClassVar

import pytest
from pydantic import Field

from workbench.errors import ConfigurationError
from workbench.feasibility import axes
from workbench.feasibility.axes import AXES, Axis, axis_named, devices_of, own_value
from workbench.plugin import Hardware, PluginConfig
from workbench.registry import Registry


@pytest.fixture(scope="module")
def registry():
    return Registry.discover()


def test_an_axis_is_for_the_devices_that_have_its_setting(registry):
    named = ["pcm", "reram-om", "ecram", "reram-wan", "quantised"]
    assert {axis.name: devices_of(axis, named, registry) for axis in AXES} == {
        "bits": ["quantised"],
        "noise": ["pcm", "reram-wan"],
        "asymmetry": ["reram-om", "ecram"],
        "stuck": named,
        # The ReRAM of Wan et al. is read later as well, and does not drift.
        "drift": ["pcm"],
    }


def test_digital_weights_stand_in_where_no_device_has_bits(registry):
    bits = axis_named("bits")
    assert devices_of(bits, ["pcm"], registry) == ["quantised"]
    assert devices_of(axis_named("drift"), ["reram-om"], registry) == []


def test_a_stand_in_that_is_not_installed_is_left_out(sample_registry):
    assert devices_of(axis_named("bits"), ["perfect"], sample_registry) == []


def test_every_axis_is_found_by_its_name_and_its_setting():
    for axis in AXES:
        assert axis_named(axis.name) is axis_named(axis.field) is axis
    with pytest.raises(ConfigurationError, match=r"'nois' is no axis; did you mean noise\?.*bits, noise"):
        axis_named("nois")


def test_values_are_told_with_what_they_are():
    told = {axis.name: [axis.told(value) for value in axis.values] for axis in AXES}
    assert told == {
        "bits": ["2", "3", "4", "5", "6", "7", "8"],
        "noise": ["×0", "×0.5", "×1", "×2", "×4"],
        "asymmetry": ["0", "0.1", "0.2", "0.4"],
        "stuck": ["0", "1 %", "3 %", "10 %", "20 %"],
        "drift": ["0", "1 h", "1 d", "30 d", "365 d"],
    }


def test_a_device_has_what_is_set_or_its_default(registry):
    noise, asymmetry = axis_named("noise"), axis_named("asymmetry")
    assert own_value(noise, "pcm", {}, registry) == 1.0
    assert own_value(noise, "pcm", {"hardware.read_noise": 0.5}, registry) == 0.5
    assert own_value(asymmetry, "reram-es", {}, registry) == pytest.approx(0.259359)


class Fading(Hardware):
    """A device of somebody else's."""

    class Config(PluginConfig):
        t_read: float = Field(0.0, description="seconds")
        fading: float = Field(1.0, description="how much")

    cell_kind: ClassVar[str | None] = None


def test_a_device_of_somebody_else_takes_part_by_its_settings(monkeypatch):
    monkeypatch.setattr(axes, "settings_model", lambda device, registry: Fading.Config)
    assert devices_of(axis_named("drift"), ["fading"], Registry(())) == []
    fading = Axis("fading", "t_read", "time", (0, 1), also=("drift", "fading"))
    assert devices_of(fading, ["fading"], Registry(())) == ["fading"]
