from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from workbench.fields import FieldHelp, describe_fields, type_name
from workbench.plugin import PluginConfig


class Inner(PluginConfig):
    depth: int = Field(1, ge=0, description="how deep")


class Outer(PluginConfig):
    sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field((3, 4), max_length=5, description="sizes")
    part: Annotated[float, Field(gt=0, lt=1)] | None = Field(None, description="part")
    inner: Inner = Field(Inner(depth=9), description="inner")
    folder: Path = Field(description="folder")
    word: str = Field("", pattern="[a-z]*", description="word")


def test_fields_are_told_with_their_limits_wherever_these_stand() -> None:
    assert describe_fields(Outer, "scenario") == [
        FieldHelp("scenario.sizes", "list of integer", [3, 4], "at most 5 values, >= 1", "sizes"),
        FieldHelp("scenario.part", "number | null", None, "> 0, < 1", "part"),
        FieldHelp("scenario.inner.depth", "integer", 9, ">= 0", "how deep"),
        FieldHelp("scenario.folder", "path", None, "", "folder", required=True),
        FieldHelp("scenario.word", "text", "", "matches [a-z]*", "word"),
    ]


def test_defaults_are_shown_as_one_would_type_them() -> None:
    shown = {field.key: field.shown_default for field in describe_fields(Outer)}
    assert shown == {
        "sizes": "[3, 4]",
        "part": "null",
        "inner.depth": "9",
        "folder": "(required)",
        "word": "''",
    }


def test_types_are_told_in_words() -> None:
    assert type_name(dict[str, list[float]]) == "{key: list of number}"
    assert type_name(tuple[float, int] | bool) == "[number, integer] | true or false"
    assert type_name(Literal["a", 1, None]) == "a | 1 | null"
    assert type_name(Inner) == "Inner"
