"""Typed, frozen configuration of one experiment: `key=value` texts and YAML files in, checked settings out.

    scenario=split-shd scenario.tasks=5 learner=osttp+replay learner.lr=1e-3 learner.replay.size=500 seed=3

The same tree as a file, where the command line wins over it:

    scenario: {name: split-shd, tasks: 5}
    learner: {name: osttp+replay, lr: 1e-3, replay: {size: 500}}
    seed: 3

Where the command line names another plug-in than the file, the settings of the replaced one are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from workbench.errors import ConfigurationError, PluginError
from workbench.overrides import merge, parse_overrides, read_config_file
from workbench.plugin import Modifier, PluginConfig, Scenario
from workbench.registry import Registry
from workbench.sections import (
    CostConfig,
    DiagnoseConfig,
    GeneralConfig,
    StreamConfig,
    TrackConfig,
    TrainConfig,
    check_compatible,
)
from workbench.validation import canonical, shown, unknown_key, validate

Settings = TypeVar("Settings", bound=PluginConfig)

DEFAULTS = {"scenario": "split-shd", "learner": "osttp", "backbone": "lif", "hardware": "ideal"}
"""The plug-in of each axis when none is named."""


@dataclass(frozen=True)
class Choice:
    """A plug-in by name, and its settings."""

    name: str
    config: PluginConfig


@dataclass(frozen=True)
class LearnerChoice:
    """One rule and its modifiers in order; `name` is `rule+modifier+...`."""

    name: str
    rule: Choice
    modifiers: tuple[Choice, ...] = ()


@dataclass(frozen=True)
class ExperimentConfig:
    """One point in the space of experiments, checked and complete."""

    scenario: Choice
    learner: LearnerChoice
    backbone: Choice
    hardware: Choice
    train: TrainConfig
    track: TrackConfig
    diagnose: DiagnoseConfig = field(default_factory=DiagnoseConfig)
    stream: StreamConfig = field(default_factory=StreamConfig)
    cost: CostConfig = field(default_factory=CostConfig)
    seed: int = 0
    device: str = "auto"
    threads: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, fit for YAML and JSON, in the form of a configuration file."""
        plain: dict[str, Any] = {}
        plain["scenario"] = {"name": self.scenario.name, **_plain(self.scenario.config)}
        plain["learner"] = {"name": self.learner.name, **_plain(self.learner.rule.config)}
        for modifier in self.learner.modifiers:
            plain["learner"][_bare(modifier.name)] = _plain(modifier.config)
        for axis, choice in (("backbone", self.backbone), ("hardware", self.hardware)):
            plain[axis] = {"name": choice.name, **_plain(choice.config)}
        plain["train"], plain["track"] = _plain(self.train), _plain(self.track)
        plain["diagnose"], plain["stream"] = _plain(self.diagnose), _plain(self.stream)
        plain["cost"] = _plain(self.cost)
        plain.update(seed=self.seed, device=self.device, threads=self.threads)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], registry: Registry | None = None) -> ExperimentConfig:
        """Return the configuration that `to_dict` wrote. Raises ConfigurationError listing every problem."""
        return _Resolution(registry or Registry.discover(), {}, plain).resolve()


def resolve(
    overrides: Iterable[str] = (), config_file: Path | None = None, registry: Registry | None = None
) -> ExperimentConfig:
    """Return the configuration that the overrides, over the file, over the defaults spell out.

    `train.epochs` and `train.batch_size` are filled with the scenario's defaults.
    Raises ConfigurationError, which lists every problem found, one a line.
    """
    typed, problems = parse_overrides(overrides, tuple(DEFAULTS))
    stored: dict[str, Any] = {}
    if config_file is not None:
        try:
            stored = read_config_file(config_file)
        except ConfigurationError as error:
            raise ConfigurationError("\n".join([*problems, str(error)])) from error
    origin = f" (in {config_file})" if config_file is not None else ""
    return _Resolution(registry or Registry.discover(), typed, stored, origin, problems).resolve()


def split_learner(name: str, registry: Registry) -> tuple[str, ...]:
    """Return the parts of `rule+modifier+...`, the rule first; a modifier alone gets its default rule.

    Raises PluginError on an unknown part, a second rule, a rule behind a modifier, or a modifier given twice.
    """
    parts = [part.strip() for part in name.split("+")]
    modifies = [issubclass(registry.load("learner", part), Modifier) for part in parts]
    if modifies[0]:
        first = registry.load("learner", parts[0])
        assert issubclass(first, Modifier)
        if not all(modifies):
            rule = parts[modifies.index(False)]
            order = "+".join([rule, *(part for part in parts if part != rule)])
            raise PluginError(f"learner={name}: the rule comes first; write learner={order}")
        parts.insert(0, first.default_rule)
        if issubclass(registry.load("learner", parts[0]), Modifier):
            raise PluginError(
                f"learner={name}: its default rule {parts[0]!r} is none; write learner=RULE+{name}"
            )
    elif not all(modifies[1:]):
        second = parts[modifies.index(False, 1)]
        raise PluginError(
            f"learner={name}: {parts[0]!r} and {second!r} are both rules; one rule, then modifiers"
        )
    bare = [_key_of(part) for part in parts[1:]]
    twice = next((part for part in bare if bare.count(part) > 1), None)
    if twice is not None:
        raise PluginError(f"learner={name}: the modifier {twice!r} stands twice")
    return tuple(parts)


class _Resolution:
    """One pass over the sections of what was typed and what the file holds, gathering the problems."""

    def __init__(
        self,
        registry: Registry,
        typed: Mapping[Any, Any],
        stored: Mapping[Any, Any],
        origin: str = "",
        problems: Iterable[str] = (),
    ) -> None:
        self.registry = registry
        self.typed = dict(typed)
        # `scenario: split-shd` in a file names the plug-in, as `scenario=split-shd` does on the command line.
        self.stored = {
            key: {"name": value} if key in DEFAULTS and not isinstance(value, Mapping) else value
            for key, value in stored.items()
        }
        self.origin = origin
        self.problems = list(problems)
        self.known: list[str] = []
        """Every key that has been met, for suggestions."""

    def resolve(self) -> ExperimentConfig:
        """Return the configuration. Raises ConfigurationError with all problems."""
        scenario = self._choice("scenario")
        learner = self._learner()
        backbone = self._choice("backbone")
        hardware = self._choice("hardware")
        train = self._checked("train", TrainConfig, *self._both("train"))
        track = self._checked("track", TrackConfig, *self._both("track"))
        diagnose = self._checked("diagnose", DiagnoseConfig, *self._both("diagnose"))
        stream = self._checked("stream", StreamConfig, *self._both("stream"))
        cost = self._checked("cost", CostConfig, *self._both("cost"))
        general = self._checked("", GeneralConfig, self.typed, self.stored)
        if self.problems:
            raise ConfigurationError("\n".join(self.problems))
        assert scenario is not None
        assert learner is not None
        assert backbone is not None
        assert hardware is not None
        assert train is not None
        assert track is not None
        assert diagnose is not None
        assert stream is not None
        assert cost is not None
        assert general is not None
        scenario_class = self.registry.load("scenario", scenario.name)
        assert issubclass(scenario_class, Scenario)
        check_compatible(learner.rule.config, train, diagnose, stream)
        defaults = {"epochs": scenario_class.default_epochs, "batch_size": scenario_class.default_batch_size}
        if stream.mode == "online":
            defaults = {"epochs": 1, "batch_size": stream.batch}
        given = {key: value for key, value in train if value is not None}
        train = train.model_copy(update=defaults | given)
        return ExperimentConfig(
            scenario, learner, backbone, hardware, train, track, diagnose, stream, cost, **dict(general)
        )

    def _both(self, section: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Take a section out of what was typed and out of the file."""
        typed = self._take(self.typed, section, section, "")
        return typed, self._take(self.stored, section, section, self.origin)

    def _take(self, source: dict[Any, Any], key: str, section: str, origin: str) -> dict[str, Any]:
        value = source.pop(key, None)
        if isinstance(value, Mapping):
            return dict(value)
        if value is not None:
            wanted = f"wants keys and values ({section}.KEY=VALUE)"
            self.problems.append(f"{section}: {wanted}, got {shown(value)}{origin}")
        return {}

    def _choice(self, axis: str) -> Choice | None:
        typed, stored = self._both(axis)
        name, origin = self._name(axis, typed, stored)
        if name is None:
            return None
        try:
            model = self.registry.load(axis, name).Config
        except PluginError as error:
            self.problems.append(f"{error}{origin}")
            return None
        config = self._checked(axis, model, typed, stored)
        return None if config is None else Choice(name, config)

    def _name(self, axis: str, typed: dict[str, Any], stored: dict[str, Any]) -> tuple[str | None, str]:
        """Take the plug-in's name, and where it stands; None after noting that it is no name.

        Drops the file's settings of a plug-in that the command line replaces.
        """
        named = "name" in stored
        origin = self.origin if named and "name" not in typed else ""
        former = stored.pop("name", DEFAULTS[axis])
        name = typed.pop("name", former)
        if not isinstance(name, str):
            self.problems.append(f"{axis}: wants the name of a plug-in, got {shown(name)}{origin}")
            return None, origin
        if named and former != name:
            kept = self._still_valid(str(former), name, stored) if axis == "learner" else {}
            stored.clear()
            stored.update(kept)
        return name, origin

    def _still_valid(self, former: str, name: str, stored: dict[str, Any]) -> dict[str, Any]:
        """Return the file's learner settings whose rule or modifier is still part of the learner."""
        try:
            before, after = split_learner(former, self.registry), split_learner(name, self.registry)
        except PluginError:
            return {}
        gone = {_key_of(part) for part in before[1:]} - {_key_of(part) for part in after[1:]}
        stay = {_key_of(part) for part in before[1:]} - gone
        same_rule = before[0] == after[0]
        return {
            key: value
            for key, value in stored.items()
            if _spelled(key) in stay or (same_rule and _spelled(key) not in gone)
        }

    def _learner(self) -> LearnerChoice | None:
        typed, stored = self._both("learner")
        name, origin = self._name("learner", typed, stored)
        if name is None:
            return None
        try:
            rule, *modifiers = split_learner(name, self.registry)
        except PluginError as error:
            self.problems.append(f"{error}{origin}")
            return None
        before = len(self.problems)
        chosen = [self._modifier(modifier, rule, typed, stored) for modifier in modifiers]
        model = self.registry.load("learner", rule).Config
        config = self._checked("learner", model, typed, stored, "+".join([rule, *modifiers]))
        if config is None or len(self.problems) > before:
            return None
        return LearnerChoice(
            "+".join([rule, *modifiers]), Choice(rule, config), tuple(choice for choice in chosen if choice)
        )

    def _modifier(self, name: str, rule: str, typed: dict[str, Any], stored: dict[str, Any]) -> Choice | None:
        key = _key_of(name)
        if key in self.registry.load("learner", rule).Config.model_fields:
            self.problems.append(
                f"learner.{_bare(name)}: means a setting of {rule} and the modifier; they cannot combine"
            )
        section, model = f"learner.{_bare(name)}", self.registry.load("learner", name).Config
        found: list[dict[str, Any]] = [{}, {}]
        for index, (source, origin) in enumerate(((typed, ""), (stored, self.origin))):
            for spelling in [one for one in source if _spelled(one) == key]:
                found[index] = merge(found[index], self._take(source, spelling, section, origin))
        config = self._checked(section, model, found[0], found[1])
        return None if config is None else Choice(name, config)

    def _checked(
        self,
        section: str,
        model: type[Settings],
        typed: Mapping[Any, Any],
        stored: Mapping[Any, Any],
        learner: str = "",
    ) -> Settings | None:
        """Return the settings of one section, or None after noting what is wrong with them."""
        before = len(self.problems)
        top, base = canonical(typed, model), canonical(stored, model)
        data = merge(base, top)
        allowed = [] if section else [*DEFAULTS, "train", "track", "diagnose", "stream", "cost"]
        allowed += model.model_fields
        for key in [key for key in data if key not in model.model_fields]:
            del data[key]
            line = unknown_key(key, section, allowed, self.known)
            if learner and self._is_modifier(key):
                line = f"learner.{key}: no part of learner={learner}; write learner={learner}+{key} to add it"
            self.problems.append(line + ("" if key in top else self.origin))
        self.known += [f"{section}.{name}" for name in model.model_fields]
        settings = validate(model, data, section, self.problems, self.origin, top)
        return settings if len(self.problems) == before else None

    def _is_modifier(self, name: str) -> bool:
        try:
            return issubclass(self.registry.load("learner", name), Modifier)
        except PluginError:
            return False


def _bare(name: str) -> str:
    """Return a plug-in's name without its package."""
    return name.rpartition(":")[2]


def _spelled(key: object) -> str:
    return str(key).replace("-", "_")


def _key_of(name: str) -> str:
    """Return how a modifier's section is spelled after - and _ are made alike."""
    return _spelled(_bare(name))


def _plain(config: PluginConfig) -> dict[str, Any]:
    return config.model_dump(mode="json")
