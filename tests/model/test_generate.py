"""generate.py on a tiny network with random weights: its files, its lengths, its refusals."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest

from model import evaluate
from model.composing.composer import Composer
from model.composing.drafts import ROOM, compose_pieces
from model.composing.pieces import Length
from model.composing.primer import read_primer
from model.composing.sampling import Sampling
from model.generate import main
from model.networks import checkpoint
from model.networks.checkpoint import Bundle, read_bundle, step_folder, write_bundle
from model.rendering.dynamics import with_dynamics
from pipeline.runtime.files import file_sha256
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.notes import DRUMS, NOTE, Score, make_notes
from pipeline.scores.reading import read_score
from pipeline.vocabulary.events import END, EventVocabulary
from pipeline.vocabulary.grid import GridVocabulary
from tests.model.tiny_run import VOCABULARY, small_disk, tiny_bundle, write_tiny_run

needs_fluidsynth = pytest.mark.skipif(
    shutil.which("fluidsynth") is None, reason="no fluidsynth here"
)
RICH = EventVocabulary(instruments=True, velocity_bins=5)
BAR = 4 * VOCABULARY.steps_per_quarter


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_run(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="module")
def composer(run_dir: Path) -> Composer:
    return Composer.load(step_folder(run_dir, 1))


def generate(run: Path, out: Path, *flags: str) -> list[Path]:
    """The files that the command wrote, by name."""
    assert main([str(run), "--out", str(out), *flags]) == 0
    return sorted(out.iterdir())


def refused(capsys: pytest.CaptureFixture[str], run: Path, *flags: str) -> str:
    """The one line on stderr of a command that fails and writes nothing."""
    out = run.parent / "refused"
    assert main([str(run), "--out", str(out), "--no-wav", *flags]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert not out.exists()
    return captured.err


def starting_as(score: Score, primer: Score) -> list[bool]:
    """For each note of the primer: does the score hold it, whatever its duration?"""
    held = {tuple(row) for row in score.notes[["onset", "pitch"]].tolist()}
    return [tuple(row) in held for row in primer.notes[["onset", "pitch"]].tolist()]


# Files ------------------------------------------------------------------------------------------


@needs_fluidsynth
def test_a_seed_gives_the_same_bytes_again(run_dir: Path, tmp_path: Path) -> None:
    flags = ["--seed", "5", "--num-pieces", "2", "--bars", "2", "--formats", "mid,mp3,png,wav"]
    first = generate(run_dir, tmp_path / "a", *flags)
    second = generate(run_dir, tmp_path / "b", *flags)
    names = [f"piece-00{i}.{suffix}" for i in (1, 2) for suffix in ("mid", "mp3", "png", "wav")]
    assert [path.name for path in first] == names
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    other = generate(run_dir, tmp_path / "c", "--seed", "6", "--bars", "2", "--no-wav")
    assert [path.name for path in other] == ["piece-001.mid", "piece-001.png"]
    assert other[0].read_bytes() != first[0].read_bytes()


def test_a_primer_is_heard_alike_compiled_or_not(
    composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    primer = Score(make_notes([(12 * i, 0, 60 + i, 12, 80) for i in range(8)]), 12)
    ids = composer.primer_ids(primer)
    logits = []
    for few in (ids.size - 1, ids.size):  # compiled, and not
        monkeypatch.setattr("model.composing.decoder.FEW", few)
        previous, state = composer.decoder.prefill(ids, 2)
        logits.append(composer.decoder.steps[0](previous, state)[0].numpy())
    np.testing.assert_allclose(*logits, atol=1e-5)


def test_composing_reads_the_weights_of_one_checkpoint_once_and_nothing_else_large(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def arrays_of(path: Path) -> dict[str, np.ndarray]:
        read.append(path)
        return read_arrays(path)

    read_arrays = checkpoint._read_arrays
    monkeypatch.setattr(checkpoint, "_read_arrays", arrays_of)
    hashed: list[Path] = []
    monkeypatch.setattr(
        checkpoint, "file_sha256", lambda path: hashed.append(path) or file_sha256(path)
    )
    generate(run_dir, tmp_path / "out", "--length-tokens", "40", "--seed", "1", "--formats", "mid")
    assert read == hashed == [step_folder(run_dir, 1) / "weights.npz"]


def test_without_a_seed_pieces_differ_and_the_seed_is_told(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = generate(run_dir, tmp_path / "a", "--bars", "2", "--no-wav")
    seed = capsys.readouterr().out.splitlines()[0].rsplit("seed ", 1)[1]
    second = generate(run_dir, tmp_path / "b", "--bars", "2", "--no-wav")
    again = generate(run_dir, tmp_path / "c", "--bars", "2", "--no-wav", "--seed", seed)
    assert first[0].read_bytes() == again[0].read_bytes() != second[0].read_bytes()


@pytest.mark.parametrize("vocabulary", [VOCABULARY, RICH], ids=["plain", "rich"])
def test_the_midi_file_holds_the_composed_notes_for_every_reader(
    vocabulary: EventVocabulary, tmp_path: Path
) -> None:
    run = write_tiny_run(tmp_path / "run", vocabulary)
    flags = ["--seed", "5", "--bars", "4", "--tempo", "90", "--no-wav"]
    midi = generate(run, tmp_path / "out", *flags)[0]
    length = Length.of_steps(4 * BAR, vocabulary.steps_per_quarter, ROOM * BAR)
    composer = Composer.load(step_folder(run, 1))
    (piece,) = compose_pieces(composer, [0], Sampling(), length, 5, BAR)
    composed = with_dynamics(composer.score(piece, length, 90.0), 4)

    by_music21 = read_score(midi)
    ratio = by_music21.resolution // composed.resolution
    for name in NOTE.names:
        scale = ratio if name in ("onset", "duration") else 1
        assert by_music21.notes[name].tolist() == (composed.notes[name] * scale).tolist(), name
    assert by_music21.tempo == pytest.approx(90, rel=1e-5)

    seconds, struck = 0.0, []
    for message in mido.MidiFile(midi):
        seconds += message.time
        if message.type == "note_on" and message.velocity:
            step = round(seconds * 90 / 60 * composed.resolution)
            struck.append((step, message.note, message.velocity))
    assert sorted(struck) == sorted(composed.notes[["onset", "pitch", "velocity"]].tolist())


def test_the_json_file_says_what_was_written(run_dir: Path, tmp_path: Path) -> None:
    flags = ["--seed", "5", "--bars", "2", "--num-pieces", "2", "--top-p", "0.9", "--no-wav"]
    generate(run_dir, tmp_path / "out", *flags, "--json", str(tmp_path / "made" / "result.json"))
    result = json.loads((tmp_path / "made" / "result.json").read_text())
    assert result["settings"]["seed"] == 5
    assert result["settings"]["top_p"] == 0.9
    assert len(result["pieces"]) == 2
    for piece in result["pieces"]:
        score = read_score(Path(piece["midi"]))
        assert piece["num_notes"] == score.notes.size
        assert piece["num_pitches"] == np.unique(score.notes["pitch"]).size
        assert piece["seconds"] == pytest.approx(score.seconds, rel=1e-4)
        assert Path(piece["png"]).is_file()
        assert piece["wav"] is None
        assert piece["metrics"]["pitch entropy"] > 0


def test_files_of_an_earlier_call_are_named_before_they_are_replaced(
    run_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = ["--bars", "2", "--formats", "mid,png"]
    generate(run_dir, tmp_path, *flags, "--seed", "5")
    assert "replaced" not in capsys.readouterr().err
    generate(run_dir, tmp_path, *flags, "--seed", "6", "--num-pieces", "2")
    line = (
        f"warning: {tmp_path}/piece-001.mid and piece-001.png of an earlier call will be replaced"
    )
    assert line in " ".join(capsys.readouterr().err.split())
    monkeypatch.setattr("model.generate.load_tensorflow", signal_oneself)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert main([str(run_dir), f"--out={tmp_path}", "--num-pieces=2", *flags]) == 130
    said = " ".join(capsys.readouterr().err.split())
    assert f"{tmp_path}/piece-001.mid, piece-001.png and 2 more files of an earlier call" in said
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def signal_oneself() -> None:
    """Ctrl-C at the moment when a command begins to load TensorFlow."""
    raise KeyboardInterrupt


def test_without_a_folder_named_no_call_replaces_the_pieces_of_another(
    run_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/bach.png").touch()  # of describe.py
    said = []
    for seed in ("5", "6", "7"):
        assert main([str(run_dir), "--bars=2", "--formats=mid", f"--seed={seed}"]) == 0
        captured = capsys.readouterr()
        assert "replaced" not in captured.err
        said.append(" ".join(captured.out.split()))
    assert "earlier call" not in said[0]
    assert "out holds pieces of an earlier call: this one writes to out-2" in said[1]
    assert "out holds pieces of an earlier call: this one writes to out-3" in said[2]
    pieces = [Path(folder) / "piece-001.mid" for folder in ("out", "out-2", "out-3")]
    assert len({piece.read_bytes() for piece in pieces}) == 3
    assert str(pieces[2]) in said[2]
    assert main([str(run_dir), "--primer=H9x", "--formats=mid"]) == 1
    assert "earlier call" not in capsys.readouterr().out  # it writes nothing


def test_metrics_are_printed_beside_those_of_real_pieces(
    run_dir: Path, tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--bars", "32", "--seed", "1", "--no-wav", "--data", str(tiny_shards)]
    generate(run_dir, tmp_path / "out", *flags)
    said = capsys.readouterr().out
    assert "1 composed  12 train   3 valid    1 test" in said
    rows = [line for line in said.splitlines() if line.startswith(("pitch", "scale", "groove"))]
    assert len(rows) >= 4
    # Chorales stay in a scale; an untrained network does not.
    (consistency,) = (line.split()[2:4] for line in rows if line.startswith("scale"))
    assert float(consistency[0]) < 0.8 < float(consistency[1])


# Lengths ----------------------------------------------------------------------------------------


def test_bars_are_kept_exactly(composer: Composer) -> None:
    length = Length.of_steps(6 * BAR, VOCABULARY.steps_per_quarter)
    pieces = composer.compose(range(8), Sampling(), length, seed=1)
    scores = [composer.score(piece, length, 100.0) for piece in pieces]
    assert all(piece.complete for piece in pieces)
    assert all(score.end <= 6 * BAR for score in scores)
    assert all(score.notes["duration"].min() >= 1 for score in scores)
    # A SHIFT is at most a bar, so the last note starts within the last one or two bars.
    assert all(score.notes["onset"].max() >= 4 * BAR for score in scores)


def test_seconds_are_kept_at_the_tempo(run_dir: Path, tmp_path: Path) -> None:
    flags = ["--seconds", "6", "--tempo", "120", "--seed", "2", "--no-wav"]
    score = read_score(generate(run_dir, tmp_path / "out", *flags)[0])
    assert 6 - 2 * 4 * 60 / 120 <= score.seconds <= 6 + 1e-6


def test_a_bound_on_tokens_is_never_passed_and_cuts_at_a_whole_note(composer: Composer) -> None:
    for bound in (1, 50, 64, 65):
        for piece in composer.compose(range(3), Sampling(), Length(bound), seed=1):
            assert piece.num_composed <= bound
            assert piece.complete or piece.num_composed == bound
            VOCABULARY.decode(piece.ids)  # raises on half a note


def test_a_piece_ends_where_the_model_ends_it(composer: Composer) -> None:
    pieces = composer.compose(range(16), Sampling(), Length(), seed=1)
    assert len({piece.num_composed for piece in pieces}) > 8
    assert all(piece.complete for piece in pieces)
    assert all((piece.ids == END).sum() == 1 for piece in pieces)


def test_a_piece_is_the_same_alone_and_among_others(composer: Composer) -> None:
    length = Length.of_steps(4 * BAR, VOCABULARY.steps_per_quarter)
    together = composer.compose(range(5), Sampling(top_p=0.95), length, seed=9)
    for index in (0, 3):
        (alone,) = composer.compose([index], Sampling(top_p=0.95), length, seed=9)
        assert alone.ids.tolist() == together[index].ids.tolist()
    assert len({piece.ids.tobytes() for piece in together}) == 5


# Primers ----------------------------------------------------------------------------------------


def test_a_real_piece_is_gone_on_from(run_dir: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    file = tiny_corpus / "bwv255.mid"
    primer, _ = VOCABULARY.fit(read_score(file))
    flags = ["--primer", str(file), "--bars", "2", "--seed", "1", "--no-wav"]
    midi = generate(run_dir, tmp_path / "out", *flags)[0]
    score = VOCABULARY.fit(read_score(midi))[0]
    assert all(starting_as(score, primer))
    assert score.notes.size > primer.notes.size
    assert score.end <= (primer.end // BAR + 2) * BAR
    assert score.tempo == pytest.approx(primer.tempo, rel=1e-4)


def test_notes_by_name_are_gone_on_from(run_dir: Path, tmp_path: Path) -> None:
    flags = ["--primer", "C4 E4 G4", "--bars", "2", "--seed", "1", "--no-wav"]
    score = read_score(generate(run_dir, tmp_path / "out", *flags)[0])
    quarter = score.resolution
    notes = score.notes[["onset", "pitch"]].tolist()
    assert [note for note in notes if note[0] < 2 * quarter] == [(0, 60), (quarter, 64)]
    assert (2 * quarter, 67) in notes  # what is composed may sound with it, below it too
    assert score.end <= 8 * quarter


def test_what_the_vocabulary_cannot_say_of_a_primer_is_told(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(0, 0, 12, 4, 80), (4, 0, 60, 400, 80), (8, DRUMS, 36, 4, 80)]
    write_midi(Score(make_notes(rows), 4), tmp_path / "odd.mid")
    generate(
        run_dir, tmp_path / "out", "--primer", str(tmp_path / "odd.mid"), "--bars", "1", "--no-wav"
    )
    said = capsys.readouterr().out
    assert "primer: pitch moved by octaves: 1 of 3 notes" in said
    assert "primer: duration clipped: 1 of 3 notes" in said
    assert "primer: percussion left out: 1 of 3 notes" in said


def test_what_is_counted_of_a_primer_has_its_own_unit(tmp_path: Path) -> None:
    # Five notes at once, of which the model's four voices leave out the second lowest, and repeats.
    rows = [(0, 0, pitch, 4, 80) for pitch in (72, 67, 64, 60, 48)] + [(4, 0, 72, 2, 80)]
    write_midi(Score(make_notes(rows), 4), tmp_path / "five.mid")
    said: list[str] = []
    read_primer(str(tmp_path / "five.mid"), GridVocabulary(), say=said.append)
    assert sorted(said) == [
        "primer: notes that begin beyond the voices left out: 1 of 6 notes",
        "primer: pitches beyond the voices left out (counted in every frame): 4",
        "primer: repeated or doubled notes joined: 1 of 6 notes",
    ]


def test_a_primer_without_usable_notes_is_refused(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drums = tmp_path / "drums.mid"
    write_midi(Score(make_notes([(0, DRUMS, 36, 4, 80)]), 4), drums)
    found = refused(capsys, run_dir, "--primer", str(drums))
    assert f"--primer {drums} holds only percussion; needed is music with pitches" in found
    text = tmp_path / "text.mid"
    text.write_text("these are words")
    assert "not a MIDI file" in refused(capsys, run_dir, "--primer", str(text))
    assert "does not exist" in refused(capsys, run_dir, "--primer", str(tmp_path / "no.mid"))
    assert "'H9x' is not a note" in refused(capsys, run_dir, "--primer", "C4 H9x")
    assert "no notes given" in refused(capsys, run_dir, "--primer", "")


# Refusals and warnings --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--bars", "0"], "--bars is 0"),
        (["--num-pieces", "0"], "--num-pieces is 0"),
        (["--seconds", "-1"], "--seconds is -1"),
        (["--tempo", "1"], "--tempo is 1"),
        (["--temperature", "-1"], "temperature is -1"),
        (["--top-p", "0"], "top-p is 0"),
        (["--seed", "-1"], "seed is -1"),
        (["--length-tokens", "1"], "no whole note after 1 tokens"),
        (["--data", "nowhere"], "no data set in nowhere"),
    ],
)
def test_a_wrong_flag_is_named_in_one_line(
    run_dir: Path, capsys: pytest.CaptureFixture[str], flags: list[str], named: str
) -> None:
    assert named in refused(capsys, run_dir, *flags)


def test_a_missing_library_is_named_with_the_command_that_brings_it(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "midi2audio", None)
    assert "midi2audio not installed" in refused(capsys, run_dir)


def test_a_run_without_a_checkpoint_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "nothing does not exist. Needed is a run folder" in refused(capsys, tmp_path / "nothing")
    needed = "Needed is a run folder or a checkpoint, such as model/pretrained/chorales\n"
    (tmp_path / "empty").mkdir()
    error = refused(capsys, tmp_path / "empty")
    assert f"empty is a folder without a run. {needed}" in error
    (tmp_path / "README.md").touch()
    assert f"README.md is a file. {needed}" in refused(capsys, tmp_path / "README.md")
    (tmp_path / "begun" / "checkpoints").mkdir(parents=True)
    error = refused(capsys, tmp_path / "begun")
    assert "no whole checkpoint in " in error
    assert "Train one with: python hpc/train.py --run " in error


@pytest.mark.parametrize(("command", "flags"), [(main, []), (evaluate.main, ["--data", "jsb:x"])])
def test_a_data_set_in_place_of_a_run_is_told_before_tensorflow_is_loaded(
    command: Callable[[list[str]], int],
    flags: list[str],
    tiny_shards: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("model.generate.load_tensorflow", lambda: pytest.fail("loaded"))
    monkeypatch.setattr("model.evaluate.evaluate_networks", lambda *_: pytest.fail("loaded"))
    assert command([str(tiny_shards), *flags]) == 1
    error = capsys.readouterr().err
    assert f"error: {tiny_shards} is a data set, and a run is needed" in error
    assert error.count("\n") == 1


def test_where_nothing_can_be_written_is_told_before_tensorflow_is_loaded(
    run_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("model.generate.load_tensorflow", lambda: pytest.fail("loaded"))
    monkeypatch.setattr("model.live.session.load_tensorflow", lambda: pytest.fail("loaded"))
    monkeypatch.chdir(tmp_path)
    Path("piece.mid").write_bytes(b"music")
    out = ["--out", "piece.mid"]
    for flags, told in (
        (out, "001.mid cannot be written to piece.mid (it is a file, and a folder is needed)"),
        (["--out", "piece.mid/new"], "cannot be written to piece.mid (it is a file"),
        (["--out", "/proc/new"], "piece-001.mid cannot be written to /proc ("),
        (["--json", "piece.mid/x"], "x cannot be written to piece.mid (it is a file"),
        (
            [*out, "--live", "synth", "--audio-driver", "file"],
            "live.wav cannot be written to piece.mid (it is a file",
        ),
    ):
        assert main([str(run_dir), "--no-wav", *flags]) == 1
        error = capsys.readouterr().err
        assert told in error
        assert error.endswith(
            "another file with --json\n" if "--json" in flags else "another folder with --out\n"
        )
        assert "space" not in error
        assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["piece.mid"]


def test_a_checkpoint_with_one_changed_byte_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = step_folder(write_tiny_run(tmp_path / "run"), 1)
    weights = bytearray((checkpoint / "weights.npz").read_bytes())
    weights[len(weights) // 2] ^= 1
    (checkpoint / "weights.npz").write_bytes(weights)
    assert "weights.npz is damaged" in refused(capsys, checkpoint)


def changed_bundle(**changes: Any) -> Bundle:
    """The tiny bundle with weights or configuration replaced."""
    bundle = tiny_bundle()
    return Bundle(
        {**bundle.model, **changes.get("model", {})},
        changes.get("vocabulary", bundle.vocabulary),
        {**bundle.weights, **changes.get("weights", {})},
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": {"num_layers": 2}}, "other weights than its configuration asks for"),
        ({"model": {"units": 65}}, "other weights than its configuration asks for"),
        ({"weights": {"music/logits/bias": np.full(235, np.nan)}}, "not finite"),
        ({"vocabulary": EventVocabulary(highest_pitch=100).to_dict()}, "of 235 tokens"),
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], named: str
) -> None:
    write_bundle(step_folder(tmp_path / "run", 1), changed_bundle(**changes))
    assert named in refused(capsys, tmp_path / "run")


def test_degenerate_pieces_are_warned_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stuck = np.zeros(VOCABULARY.size)
    for kind in ("note", "duration", "shift"):
        stuck[VOCABULARY.blocks[kind].start + 11] = 50.0  # always the twelfth of its kind
    write_bundle(
        step_folder(tmp_path / "run", 1), changed_bundle(weights={"music/logits/bias": stuck})
    )
    generate(tmp_path / "run", tmp_path / "out", "--bars", "16", "--no-wav")
    assert "warning: piece-001: only 1 different pitch\n" in capsys.readouterr().err


@needs_fluidsynth
def test_a_disk_without_room_for_the_sound_is_named(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "disk", 400_000) as disk:
        assert main([str(run_dir), "--out", str(disk), "--bars", "4", "--seed", "1"]) == 1
        error = capsys.readouterr().err
        assert "piece-001 could not be written" in error
        assert "No space left on device). Free some space there" in error
        assert sorted(path.name for path in disk.iterdir()) == ["piece-001.mid", "piece-001.png"]


@needs_fluidsynth
def test_a_wrong_soundfont_is_named_before_anything_is_composed(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--out", str(tmp_path / "out"), "--soundfont", str(tmp_path / "no.sf2")]
    assert main([str(run_dir), *flags]) == 1
    assert "no.sf2 (--soundfont) does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_weights_that_were_saved_compose(run_dir: Path, composer: Composer) -> None:
    saved = read_bundle(step_folder(run_dir, 1)).weights
    for path, variable in composer.model.named_weights().items():
        np.testing.assert_array_equal(variable.numpy(), saved[path])
