"""A field of a configuration dataclass as a command-line flag: name, parser, bounds and help."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Bounds:
    """The values that a field may have."""

    words: str
    contain: Callable[[float], bool]


ABOVE_0 = Bounds("above 0", lambda value: value > 0)
AT_LEAST_0 = Bounds("0 or more", lambda value: value >= 0)
FROM_0_BELOW_1 = Bounds("at least 0 and below 1", lambda value: 0 <= value < 1)
FROM_0_TO_1 = Bounds("from 0 to 1", lambda value: 0 <= value <= 1)


def option(
    default: Any,
    text: str,
    *,
    bounds: Bounds | None = None,
    free: bool = False,
    local: bool = False,
) -> Any:
    """A field with its help text.

    A `free` one may change when a run is continued. So may a `local` one, which is of one start and
    its machine: without its flag it has its default again, and not the value of the run.
    """
    metadata = {"help": text, "bounds": bounds, "free": free or local, "local": local}
    return field(default=default, metadata=metadata)


def check_bounds(config: Any) -> None:
    """Raise ValueError unless every field of a configuration is within its bounds."""
    for setting in fields(config):
        bounds, value = setting.metadata["bounds"], getattr(config, setting.name)
        if bounds and not bounds.contain(value):
            raise ValueError(f"{flag(setting.name)} is {value}; it must be {bounds.words}")


def flag(name: str) -> str:
    """The flag of a field: '--from' of from_run, '--log-every' of log_every."""
    return "--from" if name == "from_run" else "--" + name.replace("_", "-")


def parser_of(hint: Any) -> Any:
    """The function that makes a field's value from a flag's text."""
    if typing.get_origin(hint) is Literal:
        return lambda text: _one_of(text, typing.get_args(hint))
    if isinstance(hint, types.UnionType):
        return typing.get_args(hint)[0]
    return {bool: _truth}.get(hint, hint)


def described(hint: Any) -> str:
    """A field's type in words."""
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(typing.get_args(hint))
    if isinstance(hint, types.UnionType):
        hint = typing.get_args(hint)[0]
    return {
        int: "a whole number",
        float: "a number",
        str: "a text",
        Path: "a path",
        bool: "true or false",
    }[hint]


def _one_of(text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise ValueError(text)
    return text


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[_one_of(text.lower(), ("true", "false"))]
