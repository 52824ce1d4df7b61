"""A field of a configuration dataclass as a command-line flag: its name, parser and description."""

from __future__ import annotations

import types
import typing
from dataclasses import field
from pathlib import Path
from typing import Any, Literal


def option(default: Any, text: str, *, free: bool = False) -> Any:
    """A field with its help text; `free` ones may change when a run is continued."""
    return field(default=default, metadata={"help": text, "free": free})


def flag(name: str) -> str:
    """The flag of a field: '--from' of from_run, '--log-every' of log_every."""
    return "--from" if name == "from_run" else "--" + name.replace("_", "-")


def parser_of(hint: Any) -> Any:
    """What makes a field's value of a flag's text."""
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
