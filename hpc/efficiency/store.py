"""The measurements of an --out folder, so that nothing is measured twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hpc.efficiency.measure import Measurement
from hpc.efficiency.plan import Cell
from pipeline.runtime.files import add_line, read_lines, replace_file

SETTINGS = "settings.json"
MEASUREMENTS = "measurements.jsonl"

Measured = dict[tuple[Cell, int], Measurement]  # by cell and repetition


def open_store(out_dir: Path, settings: dict[str, Any]) -> Measured:
    """The measurements that the folder holds; a new folder gets the settings.

    Raises ValueError if its settings are other ones: such figures do not compare.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    if not (out_dir / SETTINGS).exists():
        replace_file(out_dir / SETTINGS, json.dumps(settings, indent=2) + "\n")
    try:
        begun = dict(json.loads((out_dir / SETTINGS).read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{out_dir / SETTINGS} holds no settings ({error}). Use another --out"
        ) from None
    names = sorted(settings.keys() | begun.keys())
    changed = [
        f"{name} {settings.get(name)} (measured with {begun.get(name)})"
        for name in names
        if settings.get(name) != begun.get(name)
    ]
    if changed:
        raise ValueError(
            f"{out_dir} holds measurements that do not compare with these: {'; '.join(changed)}. "
            "Use another --out"
        )
    return read_measurements(out_dir)


def read_measurements(out_dir: Path) -> Measured:
    """All measurements of a folder. Raises ValueError naming a line that is not one."""
    found: Measured = {}
    for number, entry in enumerate(read_lines(out_dir / MEASUREMENTS), start=1):
        try:
            measurement = Measurement.from_json(entry)
        except ValueError as error:
            raise ValueError(
                f"line {number} of {out_dir / MEASUREMENTS}: {error}. Remove it, or use another "
                "--out"
            ) from None
        found[measurement.cell, measurement.repetition] = measurement
    return found


def store(out_dir: Path, measurement: Measurement) -> None:
    """Add a measurement to the folder. A last line that a kill cut short is removed first."""
    path = out_dir / MEASUREMENTS
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        whole = path.read_text(errors="replace")
        replace_file(path, whole[: whole.rfind("\n") + 1])
    add_line(path, measurement.to_json())
