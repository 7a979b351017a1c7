"""Energy tables: what comes along, what one may bring, and what is not priced."""

from __future__ import annotations

import pytest
import yaml

from workbench.config import resolve
from workbench.cost.counts import OperationCount, Operations
from workbench.cost.energy import FOLDER, EnergyTable, energy, load_table, table_names
from workbench.errors import ConfigurationError

COUNT = OperationCount(
    synapses=Operations(ac=10),
    cells=Operations(mac=5),
    errors=Operations(mac=100),
    gradients=Operations(mac=7, ac=3),
)


def test_every_number_that_comes_along_has_a_source():
    assert table_names() == ["horowitz-45nm", "loihi"]
    for name in table_names():
        content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
        assert load_table(name).priced()
        for kind in ("mac", "ac", "write"):
            assert kind not in content or len(content[kind]["source"]) > 20


def test_energy_is_counts_times_prices():
    found = energy("mine", load_table("horowitz-45nm"), COUNT, writes_per_sample=50)
    assert found["forward"] == pytest.approx((5 * 4.6 + 10 * 0.9) * 1e-12, rel=1e-12)
    assert found["learning"] == pytest.approx((107 * 4.6 + 3 * 0.9) * 1e-12, rel=1e-12)
    assert found["total"] == found["forward"] + found["learning"]
    assert (found["left_out"], found["writes"], found["scope"]) == ([], None, "arithmetic")


def test_a_phase_with_operations_that_are_not_priced_is_unknown_and_not_cheap():
    found = energy("loihi", load_table("loihi"), COUNT, writes_per_sample=50)
    # The units' own updates are part of a synaptic event's price; dense errors are not.
    assert found["forward"] == pytest.approx(10 * 23.6e-12)
    assert found["learning"] is None
    assert found["total"] is None
    assert found["writes"] == pytest.approx(50 * 120e-12)
    assert found["left_out"] == ["cells.mac", "errors.mac", "gradients.mac"]
    dense = energy("loihi", load_table("loihi"), OperationCount(synapses=Operations(mac=1)), 0)
    assert dense["forward"] is None


def test_written_weights_belong_to_learning():
    table = EnergyTable.model_validate({"write": {"energy_pj": 2.0, "source": "me"}})
    found = energy("mine", table, OperationCount(), writes_per_sample=3)
    assert (found["forward"], found["learning"]) == (0.0, pytest.approx(6e-12))


def test_a_table_of_ones_own_is_read_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(
        "mac: {energy_pj: 1, source: measured}\nac: {energy_pj: 0.5, source: too}\n"
    )
    settings = resolve(["scenario=split-digits", "cost.table=mine.yaml"])
    assert settings.cost.table == str(tmp_path / "mine.yaml")
    monkeypatch.chdir("/")
    assert load_table(settings.cost.table).priced() == {"mac": 1.0, "ac": 0.5}
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
    with pytest.raises(ConfigurationError, match=r"did you mean loihi\?.*allowed: horowitz-45nm, loihi"):
        resolve(["scenario=split-digits", "cost.table=loihi2"])


def test_configurations_of_before_take_the_default():
    stored = resolve(["scenario=split-digits"]).to_dict()
    del stored["cost"]
    assert type(resolve()).from_dict(stored).cost.table == "horowitz-45nm"
