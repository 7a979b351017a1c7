"""Energy tables: what comes along, and what one may bring."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from workbench.config import resolve
from workbench.cost.prices import FOLDER, WordPrice, chosen_table, load_table, table_names
from workbench.errors import ConfigurationError

SIZES = st.floats(min_value=0, max_value=1e8)


def entries(content: object) -> list[dict]:
    """Return every part of a table that gives an energy."""
    if not isinstance(content, dict):
        return []
    if "energy_pj" in content or "bytes" in content:
        return [content]
    return [found for part in content.values() for found in entries(part)]


def test_every_number_that_comes_along_has_a_source():
    assert table_names() == ["horowitz-45nm", "loihi", "spikesim-rram"]
    for name in table_names():
        content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
        assert load_table(name).prices(devices=name == "spikesim-rram")
        assert entries(content)
        assert all(len(entry["source"]) > 20 for entry in entries(content))


def test_second_hand_numbers_are_marked_as_such():
    table = load_table("loihi")
    assert all("second-hand" in price.source for price in (table.ac, table.write))


def test_auto_is_the_table_that_fits_the_hardware():
    assert chosen_table("auto", devices=False) == "horowitz-45nm"
    assert chosen_table("auto", devices=True) == "spikesim-rram"
    assert chosen_table("horowitz-45nm", devices=True) == "horowitz-45nm"


def test_words_at_the_sizes_of_the_source():
    price = load_table("horowitz-45nm").word
    kibibytes = [price.energy_pj(1024 * size) for size in (0, 4, 8, 20, 32, 528, 1024, 10_000)]
    assert kibibytes == pytest.approx([0, 5, 10, 15, 20, 60, 100, 100])


@given(SIZES, SIZES)
def test_a_word_of_a_larger_memory_never_costs_less(first, second):
    price = WordPrice(bytes={32768: 20.0, 8192: 10.0}, source="given out of order")
    low, high = sorted((first, second))
    assert 0 <= price.energy_pj(low) <= price.energy_pj(high) <= 20


def test_pulses_have_the_price_of_their_kind_or_of_others():
    table = load_table("spikesim-rram")
    assert table.pulse_of("pcm").energy_pj == 3.4
    assert table.pulse_of("ecram") is table.pulse_of(None) is table.pulse["other"]
    assert load_table("loihi").pulse_of("pcm") is None


def test_a_table_of_ones_own_is_read_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(
        "mac: {energy_pj: 1, source: measured}\nac: {energy_pj: 0.5, source: too}\n"
    )
    settings = resolve(["scenario=split-digits", "cost.table=mine.yaml"])
    assert settings.cost.table == str(tmp_path / "mine.yaml")
    monkeypatch.chdir("/")
    assert load_table(settings.cost.table).prices() == {"mac": 1.0, "ac": 0.5}
    assert settings.to_dict()["cost"] == {"table": str(tmp_path / "mine.yaml")}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no such file"),
        ("mac: {energy_pj: -1, source: x}", "mac.energy_pj: must be >= 0"),
        ("mac: {energy_pj: cheap, source: x}", "mac.energy_pj: wants a number"),
        ("mac: {energy_pj: 1}", "mac.source: required"),
        ("macs: {energy_pj: 1, source: x}", "macs: unknown key; did you mean mac?"),
        ("summary: nothing", "gives no energy"),
        ("word: {bytes: {0: 1}, source: x}", "word.bytes: sizes must be above 0"),
        ("word: {bytes: {8: -1}, source: x}", "word.bytes: sizes must be above 0, energies at least 0"),
        ("word: {bytes: {}, source: x}", "word.bytes"),
        ("tile: {energy_pj: 1, rows: 0, columns: 2, source: x}", "tile.rows: must be >= 1"),
        ("pulse: {rram: {energy_pj: 1}}", "pulse.rram.source: required"),
        ("cells: {energy_pj: 1, source: x}", "did you mean cell?"),
        ("[1, 2]", "keys and values at the top level"),
        ("{", "not valid YAML"),
    ],
)
def test_a_faulty_table_is_refused_before_anything_is_loaded(tmp_path, content, told):
    path = tmp_path / "table.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"^cost\.table: ") as caught:
        resolve(["scenario=split-digits", f"cost.table={path}"])
    assert told in str(caught.value)


def test_a_name_that_is_nearly_right_is_suggested():
    with pytest.raises(
        ConfigurationError, match=r"did you mean loihi\?.*allowed: auto, horowitz-45nm, loihi, spikesim-rram"
    ):
        resolve(["scenario=split-digits", "cost.table=loihi2"])


def test_configurations_of_before_take_the_default():
    stored = resolve(["scenario=split-digits"]).to_dict()
    del stored["cost"]
    assert type(resolve()).from_dict(stored).cost.table == "auto"
