"""What became of the notes of a data set's sources: read, kept, left out by each rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.preprocessing.killable_pool import Failure
from pipeline.preprocessing.spool import Entry
from pipeline.scores.counted_rules import ADD, LEAVE_OUT

REJECTED = "rejected as "  # before a kind of reject; the rule by which all its notes are left out


def count_adjustments(entries: Sequence[Entry]) -> dict[str, int]:
    """Rule -> the notes of these pieces that it changed, added or left out."""
    adjustments: Counter[str] = Counter()
    for entry in entries:
        adjustments.update(entry.adjustments)
    return dict(sorted(adjustments.items()))


def count_notes(entries: Sequence[Entry], rejects: Mapping[str, Failure]) -> dict[str, Any]:
    """For the manifest: notes `read`, `kept`, `dropped` by rule, and `added` by rule if there are.

    Read are the notes counted in the files of all pieces, those of rejected ones if they are known;
    files with the bytes of another one are not read. Always read + added = kept + dropped.
    """
    adjustments = count_adjustments(entries)
    dropped = Counter({rule: n for rule, n in adjustments.items() if rule in LEAVE_OUT})
    added = {rule: n for rule, n in adjustments.items() if rule in ADD}
    kept = sum(entry.notes_kept for entry in entries)
    read = sum(entry.notes_read for entry in entries)
    for why in rejects.values():
        read += why.notes_read or 0
        dropped[REJECTED + why.kind] += why.notes_read or 0
    assert read + sum(added.values()) == kept + dropped.total(), "the encoder checks each piece"
    notes = {"read": read, "kept": kept, "dropped": dict(sorted((+dropped).items()))}
    return notes | {"added": added} if added else notes
