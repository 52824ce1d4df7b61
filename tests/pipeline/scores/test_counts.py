"""What becomes of every note of a file is counted: read, kept, left out or changed by each rule."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import mido
import music21
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.preprocessing.encoder import Encoded, Encoder
from pipeline.preprocessing.killable_pool import Failure
from pipeline.scores import reading as reading_module
from pipeline.scores.counted_rules import ADD, LEAVE_OUT
from pipeline.scores.formats import AS_WRITTEN, MIDI_READERS, Reading
from pipeline.scores.midi.note_count import count_notes, with_count
from pipeline.scores.notes import CountError, Score, make_notes
from pipeline.scores.reading import read_file
from pipeline.sources.json_frames import frames_pieces
from pipeline.sources.piece import Piece
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.grid import GridVocabulary
from pipeline.vocabulary.registry import Vocabulary
from tests.pipeline.scores.musicxml.test_reader import BACKUP, score_of, whole
from tests.pipeline.scores.test_reading import midi_bytes, xml_note

NOTE = bytes([0, 0x90, 60, 80, 96, 60, 0])
SHORT = bytes([0, 0x90, 64, 80, 1, 64, 0])  # a tick of 480 in a quarter
SHORT_DRUM = bytes([0, 0x99, 36, 80, 1, 36, 0])
NEVER_ENDED = bytes([0, 0x90, 67, 80])


@pytest.mark.parametrize("reader", MIDI_READERS)
@pytest.mark.parametrize("vocabulary", [EventVocabulary(), GridVocabulary()])
@pytest.mark.parametrize("with_cache", [False, True])
def test_notes_that_rules_of_reading_changed_are_counted(
    reader: str, vocabulary: Vocabulary, with_cache: bool, tmp_path: Path
) -> None:
    pytest.importorskip(reader)
    path = tmp_path / "score.mid"
    path.write_bytes(midi_bytes(NEVER_ENDED + NOTE + SHORT + SHORT_DRUM + NOTE))
    cache = tmp_path / "cache" if with_cache else None
    encoder = Encoder(vocabulary, reading=Reading(midi_reader=reader), cache=cache)
    if cache:
        cache.mkdir()
    for _ in range(2):  # the second time from the cache
        [piece] = encoder(Piece("score", path))
        assert isinstance(piece, Encoded)
        assert piece.adjustments["notes never ended"] == 1
        assert piece.adjustments["notes given one step"] == 1
        assert piece.adjustments["percussion left out"] == 1
        assert (piece.notes_read, piece.notes_kept) == (5, 4)


# --- Every note that is read is kept or left out by a rule


def counts_of(
    path: Path, vocabulary: Vocabulary, reading: Reading = AS_WRITTEN
) -> list[tuple[int, int, dict[str, int], dict[str, int]]]:
    """Of each piece: notes read, kept, left out by rule, added by rule."""
    pieces = Encoder(vocabulary, reading=reading)(Piece(path.name, path))
    found = []
    for piece in pieces:
        assert isinstance(piece, Encoded), piece
        assert vocabulary.decode(piece.ids).notes.size == piece.notes_kept
        left_out, added = (
            {rule: count for rule, count in piece.adjustments.items() if rule in rules}
            for rules in (LEAVE_OUT, ADD)
        )
        assert piece.notes_read + sum(added.values()) == piece.notes_kept + sum(left_out.values())
        found.append((piece.notes_read, piece.notes_kept, left_out, added))
    return found


def struck(path: Path) -> int:
    """Notes in a file of notation as music21 reads it, without those that continue a tie."""
    parsed = music21.converter.parse(path, forceSource=True, storePickle=False)
    single = (note for chord in parsed.recurse().notes for note in getattr(chord, "notes", [chord]))
    return sum(note.tie is None or note.tie.type == "start" for note in single)


@pytest.mark.parametrize(
    "vocabulary", [EventVocabulary(), GridVocabulary()], ids=["events", "grid"]
)
@pytest.mark.parametrize("name", ["bach/bwv281.krn", "bach/bwv67.4.xml"])
def test_of_notation_as_many_notes_are_read_as_music21_finds(
    name: str, vocabulary: Vocabulary
) -> None:
    path = music21.common.getCorpusFilePath() / name
    assert counts_of(path, vocabulary)[0][0] == struck(path)


@pytest.mark.parametrize("reader", MIDI_READERS)
@pytest.mark.parametrize(
    "vocabulary", [EventVocabulary(), GridVocabulary()], ids=["events", "grid"]
)
def test_of_midi_as_many_notes_are_read_as_mido_finds(
    reader: str, vocabulary: Vocabulary, shared_data: Path
) -> None:
    pytest.importorskip(reader)
    rules = Counter[str]()
    for path in sorted((shared_data / "vgmidi" / "labelled" / "midi").glob("*.mid"))[::20]:
        messages = chain.from_iterable(mido.MidiFile(path).tracks)
        written = sum(message.type == "note_on" and message.velocity > 0 for message in messages)
        [(read, _, left_out, added)] = counts_of(path, vocabulary, Reading(reader))
        assert read == written, path.name
        rules.update([*left_out, *added])
    assert rules, "no file has notes that are left out"


BOOK = (
    "X:1\nM:4/4\nL:1/4\nK:C\n{d}C-CDE|FGA[ce]|\n\nX:2\nM:4/4\nL:1/4\nK:G\nV:1\nGABc|\nV:2\nG,4|\n"
)


@pytest.mark.parametrize("expand", [False, True])
def test_of_abc_tied_notes_count_once_and_repeats_are_notes_added(
    expand: bool, tmp_path: Path
) -> None:
    path = tmp_path / "book.abc"
    path.write_text(BOOK + "\nX:3\nM:4/4\nL:1/4\nK:C\n|:C2EG:|c4|\n")
    again = [{"notes played again by repeats": 3}] if expand else [{}]
    assert counts_of(path, EventVocabulary(), Reading(expand_repeats=expand)) == [
        *((9, 9, {}, {}), (5, 5, {}, {}), (4, 7 if expand else 4, {}, again[0]))
    ]


def test_cue_notes_doubled_notes_and_percussion_are_left_out_by_name(tmp_path: Path) -> None:
    cue = xml_note("G", 24, octave=5).replace("<note>", "<note><cue/>")
    drum = "<note><unpitched/><duration>48</duration></note>"
    score_of(tmp_path, [whole("C") + BACKUP.format(48) + whole("C"), cue + whole("D") + drum])
    assert counts_of(tmp_path / "score.musicxml", EventVocabulary()) == [
        (5, 2, {"cue notes left out": 1, "doubled notes merged": 1, "percussion left out": 1}, {})
    ]


def test_in_frames_repeated_notes_are_joined_and_those_that_no_voice_has_are_left_out() -> None:
    # Two voices. C is struck twice; G is third for a quarter and then second again.
    rows = [(0, 0, 60, 4, 80), (4, 0, 60, 4, 80), (0, 0, 67, 8, 80), (2, 0, 76, 2, 80)]
    fitted, adjustments = GridVocabulary(voices=2).fit(Score(make_notes(rows), 4))
    assert sorted(fitted.notes[["onset", "pitch", "duration"]].tolist()) == [
        *((0, 60, 8), (0, 67, 2), (2, 76, 2), (4, 67, 4))
    ]
    assert adjustments == {
        "repeated or doubled notes joined": 1,
        "notes begun again in another voice or later": 1,
        "pitches beyond the voices left out": 2,
    }


def test_frames_are_counted_by_what_the_frame_before_does_not_have(tmp_path: Path) -> None:
    path = tmp_path / "duet-quarter.json"
    pieces = [[[60, 48], [60, 50], [-1, 50], [60, 50]], [[-1, -1]]]
    path.write_text(json.dumps({"train": pieces, "valid": [], "test": []}))
    first, silence = (Encoder(EventVocabulary())(piece) for piece in frames_pieces(path, "jsb"))
    assert [(piece.notes_read, piece.notes_kept) for piece in first] == [(4, 4)]
    assert silence == [Failure("empty", "no notes in it", 0)]


# --- A reader whose notes differ in number from the count


def losing_a_note(read: Callable[..., Score]) -> Callable[..., Score]:
    """A reader of MIDI that loses the last note."""

    def read_less(*chunks: Any) -> Score:
        score = read(*chunks)
        return replace(score, notes=score.notes[:-1])

    return read_less


def test_a_midi_reader_that_loses_a_note_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_symusic = pytest.importorskip("pipeline.scores.midi.by_symusic")
    path = tmp_path / "score.mid"
    path.write_bytes(midi_bytes(NOTE * 3))
    less = losing_a_note(by_symusic.score_by_symusic)
    monkeypatch.setattr(by_symusic, "score_by_symusic", less)
    [score] = read_file(path, Reading("symusic"))  # by music21
    assert isinstance(score, Score)
    assert (score.notes.size, score.notes_read) == (3, 3)
    less = losing_a_note(reading_module.score_by_music21)
    monkeypatch.setattr(reading_module, "score_by_music21", less)
    for reader in MIDI_READERS:
        with pytest.raises(CountError, match="2 notes were read, but 3 are written") as raised:
            read_file(path, Reading(reader))
        assert (raised.value.notes_read, raised.value.notes_by_reader) == (3, 2)


def test_damage_that_symusic_passes_over_is_named_by_either_reader() -> None:
    # A time of five bytes, of which MIDI has four: symusic finds 61 notes in the file.
    contents = midi_bytes(bytes.fromhex("00 90 3c 40 00 d0 05 ff ff ff ff 7f"))
    pytest.importorskip("symusic")
    reasons = set()
    for reader in MIDI_READERS:
        with pytest.raises(ValueError, match="damaged in track 1") as raised:
            reading_module.read_midi(contents, reader)
        reasons.add(str(raised.value))
    assert len(reasons) == 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "90", "91", "80", "b0", "e3", "c0", "d1", "ff", "f0"]),
            st.sampled_from(["00", "9040", "8191c000", "ff7f", "c005"]),
            st.integers(0, 127),
            st.sampled_from([0, 1, 64, 127]),
        ),
        max_size=25,
    ),
    st.lists(st.integers(0, 2), min_size=25, max_size=25),
)
@hypothesis_settings(deadline=None)
def test_note_ons_are_counted_in_any_mixture_of_events(
    events: list[tuple[str, str, int, int]], track_of: list[int]
) -> None:
    tracks, written, status = [bytearray() for _ in range(3)], 0, ["90"] * 3
    for track in tracks:
        track += bytes.fromhex("00 90 3c 00")
    for (kind, delta, key, velocity), place in zip(events, track_of, strict=False):
        if kind == "ff":
            tracks[place] += bytes.fromhex(f"{delta} ff 01 04 00 90 3c 40")
        elif kind == "f0":
            tracks[place] += bytes.fromhex(f"{delta} f0 03 3c 40 f7")
        else:
            status[place] = kind or status[place]
            num_data = 1 if status[place][0] in "cd" else 2
            tracks[place] += bytes.fromhex(delta + kind) + bytes([key, velocity])[:num_data]
            written += status[place][0] == "9" and velocity > 0
    whole = [bytes(track) + b"\x00\xff\x2f\x00" for track in tracks]
    assert count_notes(whole) == written
    score = Score(make_notes([(0, 0, 60, 1, 80)] * written), 12)
    assert with_count(score, whole).notes_read == written
    more = replace(score, notes=np.append(score.notes, make_notes([(0, 0, 60, 1, 80)])))
    with pytest.raises(CountError):
        with_count(more, whole)
