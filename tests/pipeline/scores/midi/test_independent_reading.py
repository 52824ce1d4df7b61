"""Real MIDI files against an independent reading of them: messages by mido, the rules said anew."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import mido
import pytest

from pipeline.scores.formats import MIDI_READERS
from pipeline.scores.reading import read_midi

Notes = list[tuple[int, int, int]]  # onset, key, length; in ticks


def by_mido(path: Path) -> Notes:
    """The notes of all tracks: a key's note-offs go to its notes in turn, but for those left on."""
    notes: Notes = []
    for track in mido.MidiFile(path).tracks:
        now, of_key = 0, defaultdict(list)
        for message in track:
            now += message.time
            if message.type in ("note_on", "note_off"):
                is_on = message.type == "note_on" and message.velocity > 0
                of_key[message.channel, message.note].append((now, is_on))
        for (_, key), strokes in of_key.items():
            notes += [(onset, key, end - onset) for onset, end in ended(strokes, now)]
    return sorted(notes)


def ended(strokes: list[tuple[int, bool]], track_end: int) -> list[tuple[int, int]]:
    """Onset and end of the notes of a key, from the last one back: it knows which are left on."""
    excess, left_on = 0, set()
    for place in range(len(strokes) - 1, -1, -1):
        excess = excess - 1 if strokes[place][1] else excess + 1
        if excess < 0:
            left_on.add(place)
            excess = 0
    found, waiting = [], []
    for place, (tick, is_on) in enumerate(strokes):
        if place in left_on:
            later = [other for other, struck in strokes[place + 1 :] if struck]
            found.append((tick, later[0] if later else track_end))
        elif is_on:
            waiting.append(tick)
        elif waiting:
            found.append((waiting.pop(0), tick))
    return found


@pytest.mark.parametrize("reader", MIDI_READERS)
def test_real_files_have_the_notes_of_an_independent_reading(
    reader: str, tiny_corpus: Path, shared_data: Path
) -> None:
    pytest.importorskip(reader)
    paths = sorted(tiny_corpus.glob("*.mid"))
    paths += sorted((shared_data / "vgmidi" / "labelled" / "midi").glob("*.mid"))[::6]
    assert len(paths) > 16
    never_ended = 0
    for path in paths:
        score = read_midi(path.read_bytes(), reader)
        notes = score.notes[["onset", "pitch", "duration"]].tolist()
        assert sorted(notes) == by_mido(path), path.name
        never_ended += score.adjustments.get("notes never ended", 0)
    assert never_ended, "no file has the notes that this is about"
