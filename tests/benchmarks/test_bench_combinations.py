"""Every rule with every modifier: it acts, or the run says why not; the committed page says the same."""

import pytest

from benchmarks import combinations
from workbench.errors import DataError, PluginError
from workbench.plugin import Modifier, Rule
from workbench.registry import Registry


@pytest.fixture(scope="module")
def found():
    return combinations.tables(Registry.discover())


def test_every_pair_works_or_says_why_not(found):
    registry = Registry.discover()
    rules, modifiers = (combinations.own(registry, kind) for kind in (Rule, Modifier))
    assert {"bptt", "osttp"} <= set(rules)
    assert {"replay", "ewc", "si", "hypernet"} <= set(modifiers)
    for table in found:
        assert {label.split()[0] for label in table.rules} == set(rules)
        assert list(table.cells) == modifiers
        for name, cells in table.cells.items():
            for rule, cell in zip(table.rules, cells, strict=True):
                # A refusal names what it is about: the modifier, and what to do instead.
                assert cell == "works" or cell.startswith(name), f"{rule}+{name}, {table.setting}: {cell}"


def test_distillation_is_refused_by_local_rules_but_for_the_task_setting(found):
    by_class, by_task = (dict(zip(table.rules, table.cells["lwf"], strict=True)) for table in found)
    assert by_class["bptt"] == by_task["bptt"] == by_task["osttp"] == "works"
    assert "local rule" in by_class["osttp"]


def test_the_page_says_what_was_found(found):
    assert combinations.DOCUMENT.read_text() == combinations.document(found), (
        "docs/combinations.md is out of date; run: python -m benchmarks.combinations --write"
    )


def test_the_page_reads_back_as_what_was_found():
    text = combinations.DOCUMENT.read_text()
    tables = combinations.recorded(text)
    assert combinations.document(tables) == text
    with pytest.raises(DataError, match="--write"):
        combinations.recorded(text.replace("\n1. ", "\n9. "))


def test_every_plugin_of_avalanche_is_a_modifier_or_has_a_reason():
    from avalanche.core import BasePlugin
    from avalanche.training import plugins

    known = {name for name in dir(plugins) if isinstance(getattr(plugins, name), type)}
    known = {name for name in known if issubclass(getattr(plugins, name), BasePlugin)} - {"SupervisedPlugin"}
    offered = {
        f"{name}Plugin"
        for name in (
            "AGEM",
            "CWRStar",
            "EWC",
            "GDumb",
            "GEM",
            "LwF",
            "MAS",
            "RWalk",
            "Replay",
            "SynapticIntelligence",
        )
    }
    refused = {name for names in combinations.NOT_OFFERED for name in names.split(", ")}
    trainers = {name for name in known if name in combinations.ELSEWHERE}
    assert trainers == {"EarlyStoppingPlugin", "LRSchedulerPlugin"}
    assert not offered & refused
    assert known == offered | refused | trainers


def test_a_modifier_that_does_nothing_is_told():
    class Idle(Modifier):
        """Does nothing."""

    class Refusing(Modifier):
        """Refuses."""

        def before_task(self, rule, task):
            raise PluginError("refusing refuses")

    bench = combinations.Bench("class")
    bptt = Registry.discover().load("learner", "bptt")
    variant = combinations.Variant("bptt", bptt, {})
    assert bench.outcome("idle", Idle, variant) == "no effect"
    assert bench.outcome("refusing", Refusing, variant) == "refusing refuses"


def test_the_program_writes_checks_and_prints(monkeypatch, tmp_path, capsys):
    tables = [combinations.Table("class", ("bptt",), {"idle": ("no effect",), "shy": ("shy of bptt",)})]
    monkeypatch.setattr(combinations, "tables", lambda registry: tables)
    monkeypatch.setattr(combinations, "DOCUMENT", tmp_path / "docs" / "combinations.md")
    assert combinations.main(["--check"]) == 1
    assert "--write" in capsys.readouterr().err
    assert combinations.main(["--write"]) == 0
    assert combinations.main(["--check"]) == 0
    assert combinations.main([]) == 0
    printed = capsys.readouterr().out
    assert "| idle | no effect |" in printed
    assert "| shy | refused (1) |" in printed
    assert "1. shy of bptt" in printed
    assert printed.strip() == combinations.DOCUMENT.read_text().strip()
