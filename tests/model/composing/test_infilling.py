"""generate.py --infill: the gap is composed, all else stays as it is in the file."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import mido
import numpy as np
import pytest

from model.composing.infilling import read_piece_with_gap
from model.generate import main
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.notes import DRUMS, Score, make_notes
from pipeline.scores.parts import Parts
from pipeline.scores.reading import read_score
from pipeline.vocabulary.frames import FIRST_PROGRAM
from pipeline.vocabulary.grid import GridVocabulary
from tests.conftest import REPOSITORY
from tests.model.tiny_run import write_tiny_run
from tests.terminals import COLUMNS, lines_on, run_on_terminal

CHORALES = Path(__file__).resolve().parents[3] / "model" / "pretrained" / "chorales"
Q = 12  # units a quarter in the files below: a triplet has 4, a 16th has 3
SOPRANO, ALTO, TENOR, BASS = 72, 67, 64, 48


def notes_of(score: Score) -> Counter[tuple[float, ...]]:
    """(onset and duration in quarters, pitch, velocity) of every note."""
    return Counter(
        (onset / score.resolution, duration / score.resolution, pitch, velocity)
        for onset, program, pitch, duration, velocity in score.notes.tolist()
    )


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_run(tmp_path_factory.mktemp("runs") / "grid", GridVocabulary())


@pytest.fixture(scope="module")
def piece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bars of four voices, all on one piano, and a drum; a rest of a quarter before."""
    rows = [(Q * (1 + beat), 0, SOPRANO, Q, 90) for beat in range(12)]
    # Alto: triplets in bar 1, a note from bar 1 held into bar 2, one from bar 2 held into bar 3.
    rows += [(Q + 4 * place, 0, ALTO, 4, 60) for place in range(6)]
    rows += [(Q * 3, 0, ALTO, 3 * Q, 61), (Q * 6, 0, ALTO, 4 * Q, 62), (Q * 10, 0, ALTO, 3 * Q, 63)]
    rows += [(Q * (1 + 4 * bar), 0, TENOR, 4 * Q, 50) for bar in range(3)]
    rows += [(Q * (1 + 4 * bar), 0, BASS, 4 * Q, 70) for bar in range(3)]
    rows += [(Q * 6, DRUMS, 38, Q, 99)]
    path = tmp_path_factory.mktemp("infill") / "piece.mid"
    write_midi(Score(make_notes(rows), Q, 90.0), path)
    return path


def infilled(run: Path, piece: Path, out: Path, *flags: str) -> Score:
    """The first piece that the command writes."""
    command = [str(run), "--infill", str(piece), "--seed=3", "--formats=mid", f"--out={out}"]
    assert main([*command, *flags]) == 0
    return read_score(out / "piece-001.mid")


def test_all_but_the_notes_that_begin_in_the_gap_stays(
    untrained: Path, piece: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = notes_of(read_score(piece))
    after = notes_of(infilled(untrained, piece, tmp_path, "--bars=2:2", "--voices=alto,3"))

    # Bar 2 is quarters 5 to 9. Alto's note of quarter 6 and tenor's of quarter 5 begin there.
    removed = Counter({(6.0, 4.0, ALTO, 62): 1, (5.0, 4.0, TENOR, 50): 1})
    kept = before - removed
    assert sum(kept.values()) == sum(before.values()) - 2
    assert kept - after == Counter()
    # Alto is free from the end of its held note to the end of the one that was removed.
    added = after - kept
    assert added
    assert all(onset >= 5 and onset + length <= 10 for onset, length, *_ in added)
    sounding = np.zeros(40)  # sixteenths, of both free voices together
    for onset, length, *_ in added:
        sounding[round(4 * onset) : round(4 * (onset + length))] += 1
    assert sounding[20:24].max() <= 1  # tenor alone
    assert sounding.max() <= 2
    said = capsys.readouterr().out
    # Frames of the gap: 16 of tenor; of alto's 20 the first 4 are its held note's. 32 drafts.
    assert "composed 1024 tokens in " in said
    assert "32 drafts from " in said
    assert "the model does not hear 1 of 28 notes; written they stay" in said  # the drum


def test_other_seeds_fill_the_gap_otherwise_and_the_tempo_stays(
    untrained: Path, piece: Path, tmp_path: Path
) -> None:
    first = infilled(untrained, piece, tmp_path / "a", "--bars=2")
    second = infilled(untrained, piece, tmp_path / "b", "--bars=2", "--seed=4")
    assert notes_of(first) != notes_of(second)
    assert first.tempo == pytest.approx(90.0, abs=0.01)
    assert notes_of(first) == notes_of(infilled(untrained, piece, tmp_path / "c", "--bars=2:2"))


def test_voices_that_the_files_programs_name_are_those_of_their_programs(
    untrained: Path, tmp_path: Path
) -> None:
    """Alto sings above soprano here: by height it would be taken for soprano."""
    rows = [
        (4 * beat, FIRST_PROGRAM + voice, pitch, 4, 80)
        for beat in range(4)
        for voice, pitch in enumerate((60, 70, 55, 48))
    ]
    file = tmp_path / "crossed.mid"
    write_midi(Score(make_notes(rows), 4), file)
    given = read_piece_with_gap(file, GridVocabulary(), voices=["alto"])
    replaced = given.score.notes[~given.is_kept]
    assert set(replaced["pitch"].tolist()) == {70}
    after = infilled(untrained, file, tmp_path / "out", "--voices=alto")
    assert (after.notes["program"] == FIRST_PROGRAM).sum() == 4


def named_tracks(path: Path, names: Sequence[str], pitches: Sequence[int]) -> Path:
    """A MIDI file of tracks with these names, each of two bars of quarters on one key."""
    written = mido.MidiFile(ticks_per_beat=4)
    for name, pitch in zip(names, pitches, strict=True):
        track = mido.MidiTrack([mido.MetaMessage("track_name", name=name)])
        for _ in range(8):
            track.append(mido.Message("note_on", note=pitch, velocity=70))
            track.append(mido.Message("note_off", note=pitch, time=4))
        written.tracks.append(track)
    written.save(path)
    return path


def test_tracks_that_are_named_as_voices_are_these_voices(tmp_path: Path) -> None:
    """Alto sings above soprano: by height each would be taken for the other."""
    said: list[str] = []
    names, pitches = ["Soprano", "Alto", "Tenor", "Bass"], (60, 70, 55, 48)
    file = named_tracks(tmp_path / "named.mid", names, pitches)
    given = read_piece_with_gap(file, GridVocabulary(), voices=["alto"], say=said.append)
    assert set(given.score.notes[~given.is_kept]["pitch"].tolist()) == {70}
    told = "Soprano as soprano, Alto as alto, Tenor as tenor, Bass as bass"
    assert said == [f"notes are taken as voices by their tracks' names: {told}"]


def test_the_line_of_the_tracks_is_broken_between_words(tmp_path: Path) -> None:
    file = named_tracks(tmp_path / "a.mid", ["Soprano", "Alto", "Tenor", "Bass"], (72, 67, 60, 48))
    program = (
        "from pathlib import Path\n"
        "from model.composing.infilling import read_piece_with_gap\n"
        "from pipeline.vocabulary.grid import GridVocabulary\n"
        f"read_piece_with_gap(Path({str(file)!r}), GridVocabulary())"
    )
    _, terminal = run_on_terminal([sys.executable, "-c", program], PYTHONPATH=str(REPOSITORY))
    shown = lines_on(terminal)
    assert len(shown) == 2 and max(map(len, shown)) <= COLUMNS
    told = "Soprano as soprano, Alto as alto, Tenor as tenor, Bass as bass"
    assert " ".join(" ".join(shown).split()).endswith(told)


def test_which_track_is_taken_as_which_voice_is_told(tmp_path: Path) -> None:
    """Two tenors: no name is one voice's, and of five voices the model hears four."""
    said: list[str] = []
    names, pitches = ["Soprano", "", "Tenor", "Tenor", "Bass"], (72, 67, 64, 60, 48)
    file = named_tracks(tmp_path / "two_tenors.mid", names, pitches)
    given = read_piece_with_gap(file, GridVocabulary(), voices=["alto"], say=said.append)
    assert set(given.score.notes[~given.is_kept]["pitch"].tolist()) == {67}
    told = "Soprano as soprano, track 2 as alto, Tenor as tenor, Tenor as none, Bass as bass"
    assert said[0] == f"notes are taken as voices by height: {told}"


def test_two_tracks_that_hold_one_key_at_once_keep_both_notes(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tenor holds C4 for a bar. Alto comes to it a quarter later, where it is the lower of two."""
    tracks = [
        [(0, 16, SOPRANO)],
        [(0, 4, 67), (4, 4, 60), (8, 8, 67)],
        [(0, 16, 60), (16, 16, 64)],
        [(0, 16, 48), (16, 16, 50)],
        [(4 * beat, 4, 48) for beat in range(4)],  # the same keys as bass, which holds them
    ]
    written = mido.MidiFile(ticks_per_beat=4)
    for notes in tracks:
        events = [(at, "note_on", pitch) for at, _, pitch in notes]
        events += [(at + length, "note_off", pitch) for at, length, pitch in notes]
        track, now = mido.MidiTrack(), 0
        for at, kind, pitch in sorted(events, key=lambda event: (event[0], event[1] == "note_on")):
            track.append(mido.Message(kind, note=pitch, velocity=70, time=at - now))
            now = at
        written.tracks.append(track)
    file = tmp_path / "unisons.mid"
    written.save(file)
    before = notes_of(read_score(file))
    assert sum(before.values()) == 12

    after = notes_of(infilled(untrained, file, tmp_path / "out", "--bars=2"))
    outside = Counter({note: count for note, count in before.items() if note[0] < 4})
    assert sum(outside.values()) == 10
    assert outside - after == Counter()
    assert "sounds in all parts" not in capsys.readouterr().out

    # A key struck six times at once: the model has four voices, and the file a program.
    for place in range(6):
        written.tracks[place:] = [
            mido.MidiTrack(
                [
                    mido.Message("note_on", note=60, velocity=70),
                    mido.Message("note_off", note=60, time=2 + place),
                    mido.Message("note_on", note=72, velocity=70, time=14 - place),
                    mido.Message("note_off", note=72, time=4),
                ]
            )
        ]
    written.save(file)
    after = notes_of(infilled(untrained, file, tmp_path / "many", "--bars=2"))
    assert sum(count for note, count in after.items() if note[0] < 4) == 5
    said = capsys.readouterr().out
    assert "key that sounds in all parts: left out 1, cut where the key is struck again 0" in said


def test_bars_are_those_of_the_files_metre_and_it_is_written_again(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two bars in 4/2, of eight quarters each, of a melody in quarters."""
    rows = [(Q * beat, 0, SOPRANO, Q, 90) for beat in range(16)]
    file = tmp_path / "long_bars.mid"
    write_midi(Score(make_notes(rows), Q), file, Parts())
    written = mido.MidiFile(file)
    place, metre = next(
        (at, event) for at, event in enumerate(written.tracks[0]) if event.type == "time_signature"
    )
    written.tracks[0][place] = metre.copy(numerator=4, denominator=2)
    written.save(file)
    kept = notes_of(read_score(file)) - Counter(
        {(float(beat), 1.0, SOPRANO, 90): 1 for beat in range(8, 16)}
    )

    after = notes_of(infilled(untrained, file, tmp_path / "out", "--bars=2", "--voices=1"))
    assert f"{file} is in 4/2: a bar is counted as 8 quarters" in capsys.readouterr().out
    assert kept - after == Counter()
    assert all(onset >= 8 for onset, *_ in after - kept)
    # --beats-per-bar comes first: bar 2 is then quarters 4 to 8.
    flags = ["--bars=2", "--beats-per-bar=4"]
    four = notes_of(infilled(untrained, file, tmp_path / "four", *flags))
    assert "a bar is counted" not in capsys.readouterr().out
    assert sum(kept[note] for note in four) == 4
    metres = [
        (event.numerator, event.denominator)
        for name in ("out", "four")
        for event in mido.MidiFile(tmp_path / name / "piece-001.mid").tracks[0]
        if event.type == "time_signature"
    ]
    assert metres == [(4, 2), (4, 4)]


@pytest.mark.slow
def test_a_chorale_of_bach_keeps_what_was_not_to_be_composed(tmp_path: Path) -> None:
    from music21 import corpus

    file = Path(corpus.getWork("bach/bwv66.6"))
    before = read_score(file)
    after = infilled(CHORALES, file, tmp_path, "--bars=3:4", "--voices=alto,tenor")
    start = before.notes["onset"].min() / before.resolution

    def outside(score: Score) -> Counter[tuple[float, ...]]:
        return Counter(
            {
                note[:3]: count
                for note, count in notes_of(score).items()
                if not start + 8 <= note[0] < start + 16
            }
        )

    assert outside(after) == outside(before)
    sung = [after.notes[after.notes["program"] == FIRST_PROGRAM + voice] for voice in (0, 3)]
    whole = notes_of(before)
    for notes in sung:  # soprano and bass, in the gap too
        assert notes_of(Score(notes, after.resolution)) - whole == Counter()
    assert sum(map(len, sung)) > 60


# Refusals ---------------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], run: Path, file: Path, *flags: str) -> str:
    """The one line of a command that fails and writes nothing."""
    out = run.parent / "refused"
    assert main([str(run), "--infill", str(file), "--out", str(out), "--no-wav", *flags]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not out.exists()
    return error


def test_what_cannot_be_filled_is_refused_in_one_line(
    untrained: Path, piece: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "nowhere.mid"
    assert "nowhere.mid does not exist" in refused(capsys, untrained, nowhere, "--bars=1")
    line = refused(capsys, untrained, piece, "--bars=3:4")
    assert "--bars 3:4: " in line
    assert "has 3 bars, counted from its first note by --beats-per-bar" in line
    line = refused(capsys, untrained, piece, "--voices=descant")
    assert "--voices is 'descant'; this model's voices are soprano, alto, tenor, bass" in line
    held = tmp_path / "held.mid"
    write_midi(Score(make_notes([(0, 0, 60, 12 * Q, 80)]), Q), held)
    assert "no note of" in refused(capsys, untrained, held, "--bars=2:3")


def test_a_file_that_is_read_is_not_overwritten(
    untrained: Path, piece: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "piece-002.mid"
    shutil.copy(piece, file)
    linked = tmp_path / "link"
    linked.symlink_to(tmp_path)
    for flags in (
        ["--infill", str(file), "--bars=2"],
        ["--given", str(file), "--out", str(linked)],
        ["--primer", str(linked / file.name)],
        ["--primer", str(file), "--out", str(tmp_path / "new"), "--json", str(file)],
        ["--input", str(file), "--live=stdout", "--json", str(file)],
    ):
        command = [str(untrained), "--num-pieces=2", "--formats=mid", f"--out={tmp_path}", *flags]
        assert main(command) == 1
        error = capsys.readouterr().err
        assert f"error: {flags[0]} {flags[1]} would be overwritten" in error
        assert error.count("\n") == 1
        assert "name another " in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "piece-002.mid"]
    assert file.read_bytes() == piece.read_bytes()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "--infill needs --bars FIRST:LAST, --voices NAME,... or both"),
        (["--bars=8:5"], "'8:5' names no bars"),
        (["--bars=5:8", "--primer=C4"], "does not go with --live or --primer"),
        (["--voices=alto", "--seconds=3"], "as long as the given one"),
    ],
)
def test_flags_that_contradict_it_are_refused(
    piece: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["nowhere", "--infill", str(piece), *flags])
    assert said in capsys.readouterr().err


def test_a_range_of_bars_is_refused_where_nothing_is_filled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["nowhere", "--bars=5:8"])
    assert "--bars FIRST:LAST goes with --infill" in capsys.readouterr().err
