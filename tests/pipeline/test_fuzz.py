"""Any bytes where a file is expected: a reason or the truth, never a crash, a hang or a lie.

Inputs are real files with a few bytes changed, put in, taken out, or moved. `make soak` tries
200,000 of them; plain pytest a few hundred.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from pipeline.dataset.manifest import FILE_NAME, Manifest
from pipeline.scores.formats import MUSIC21, SCORE_SUFFIXES, SYMUSIC
from pipeline.scores.midi.rules import NOTE_OFF
from pipeline.scores.notes import Score
from pipeline.scores.reading import read_midi, read_scores
from pipeline.sources.archives import extract_scores
from pipeline.vocabulary.events import EventVocabulary
from tests.pipeline.scores.test_reading import GOLDEN, midi_bytes, musicxml, xml_note, xml_tie

PER_INPUT_SECONDS = 20.0
Mutation = tuple[str, int, bytes]
# Inputs of each kind: in plain pytest, and in make soak. The second column sums to 202,000.
COUNTS = {
    "MIDI": (60, 90_000),
    "MusicXML": (10, 5_000),
    "archives": (40, 22_000),
    "manifests": (40, 50_000),
    "shards": (40, 35_000),
}
# Inputs that once went wrong: (seed, changes) of each kind, tried every time.
FOUND: dict[str, list[tuple[int, list[Mutation]]]] = {
    "MIDI": [
        (87, [("delete", 44079, bytes(4)), ("insert", 19218, b"\x80\x80\x00\x00")]),
        (41927, [("change", 368, b"\x00\xf0")]),
    ],
    "archives": [
        (0, [("delete", 0, bytes(4)), ("delete", 0, bytes(4)), ("change", 14806, bytes(4))]),
    ],
}
NOTE = bytes([0, 0x90, 60, 80, 96, 60, 0])
ODD_MIDI = [
    midi_bytes(NOTE, kind=0),
    midi_bytes(NOTE + bytes([0, 0xC0, 5]) + NOTE, bytes([0, 0xC1, 40]) + NOTE, kind=2),
    midi_bytes(bytes([0, 0x99, 36, 80, 0, 38, 80, 9, 36, 0, 0, 0xFF, 0x51, 3, 9, 9, 9]) + NOTE),
    midi_bytes(bytes([0, 0x90, 60, 80, 1, 62, 80, 1, 60, 70, 0, 0xF0, 2, 1, 0xF7, 3, 60, 0])),
    midi_bytes(NOTE, bytes([0, NOTE_OFF, 60, 0]), division=(256 - 25) << 8 | 40),
]
mutations = st.lists(
    st.tuples(
        st.sampled_from(["change", "insert", "delete", "repeat", "cut"]),
        st.integers(0, 2**20),
        st.binary(min_size=1, max_size=4)
        | st.sampled_from([b"\xff\x2f\x00", b"\xff\xff\xff\x7f", b"\x80\x00\x00\x00", b"MTrk"]),
    ),
    min_size=1,
    max_size=4,
)


def mutated(contents: bytes, changes: list[Mutation]) -> bytes:
    """The contents after some changes; a place counts from the beginning, over and over."""
    for kind, place, piece in changes:
        place %= len(contents) + 1
        head, tail = contents[:place], contents[place:]
        contents = {
            "change": head + piece + tail[len(piece) :],
            "insert": head + piece + tail,
            "delete": head + tail[len(piece) :],
            "repeat": head + tail[: 16 * len(piece)] + tail,
            "cut": head if piece[0] < 32 else contents,
        }[kind]
    return contents


def fuzz(kind: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a check on so many changes of real inputs, short and, marked soak, at length."""

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        @pytest.mark.parametrize(
            "count",
            [
                COUNTS[kind][0],
                pytest.param(
                    COUNTS[kind][1], marks=[pytest.mark.soak, pytest.mark.timeout(3 * 3600)]
                ),
            ],
        )
        def run(count: int, request: pytest.FixtureRequest) -> None:
            needed = request.getfixturevalue(f"{kind.lower()}_seeds")

            @given(st.integers(0, 2**16), mutations)
            @settings(
                max_examples=count,
                database=None,
                phases=[Phase.explicit, Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            )
            def one(seed: int, changes: list[Mutation]) -> None:
                started = time.monotonic()
                check(needed, seed, changes)
                assert time.monotonic() - started < PER_INPUT_SECONDS

            for found in FOUND.get(kind, []):
                one = example(*found)(one)
            one()

        run.__doc__ = check.__doc__
        return run

    return decorate


def outcome(read: Callable[[], Any]) -> Any:
    """What was read, or the reason why not."""
    try:
        return read()
    except (ValueError, OSError) as error:
        assert str(error)
        return str(error)


@pytest.fixture(scope="session")
def midi_seeds(tiny_corpus: Path) -> list[bytes]:
    pytest.importorskip("symusic", reason="symusic is not installed: pip install -e '.[symusic]'")
    real = [GOLDEN, tiny_corpus / "bwv255.mid", tiny_corpus / "bwv67.7.mid"]
    return [*ODD_MIDI * 4, *(path.read_bytes() for path in real)]


@fuzz("MIDI")
def test_midi_bytes_are_the_same_notes_by_both_readers_or_a_reason(
    seeds: list[bytes], seed: int, changes: list[Mutation]
) -> None:
    contents = mutated(seeds[seed % len(seeds)], changes)
    one, other = (
        outcome(lambda reader=reader: read_midi(contents, reader))  # type: ignore[misc]
        for reader in (MUSIC21, SYMUSIC)
    )
    if isinstance(other, str):
        assert one == other  # symusic leaves to music21 what it refuses: the same reason
        return
    assert_can_be_said(other)
    if isinstance(one, str):  # symusic passes over some damage
        return
    assert one.resolution == other.resolution
    fields = ["onset", "pitch", "duration", "velocity"]  # programs differ by a rule
    assert sorted(one.notes[fields].tolist()) == sorted(other.notes[fields].tolist())
    assert_can_be_said(one)


def assert_can_be_said(score: Score) -> None:
    """Is the score one that the vocabulary can say, and say again from its ids?"""
    vocabulary = EventVocabulary(velocity_bins=4, instruments=True)
    if score.notes.size:
        assert score.notes["pitch"].min() >= 0 and score.notes["pitch"].max() <= 127
        ids = vocabulary.encode(score)
        assert vocabulary.encode(vocabulary.decode(ids)).tolist() == ids.tolist()


@pytest.fixture(scope="session")
def musicxml_seeds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    tied = xml_note("C", 24, xml_tie("start")) + xml_note("E", 24, "chord")
    bars = f"<measure>{tied}</measure><measure>{xml_note('C', 12, xml_tie('stop'))}</measure>"
    return tmp_path_factory.mktemp("fuzz") / "score.musicxml", musicxml(bars, parts=2)


@fuzz("MusicXML")
def test_musicxml_bytes_are_notes_or_a_reason(
    seeds: tuple[Path, bytes], seed: int, changes: list[Mutation]
) -> None:
    path, contents = seeds
    path.write_bytes(mutated(contents, changes))
    scores = outcome(lambda: read_scores(path))
    if not isinstance(scores, str):
        assert scores and all(score.notes.size for score in scores)
        for score in scores:
            assert_can_be_said(score)


@pytest.fixture(scope="session")
def archives_seeds(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, list[tuple[str, bytes]]]:
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.mid", "folder/b.mid"):
            archive.writestr(name, GOLDEN.read_bytes())
    with tarfile.open(fileobj=tarred, mode="w") as ball:
        for name in ("a.mid", "folder/b.mid"):
            ball.add(GOLDEN, name)
    return tmp_path_factory.mktemp("fuzz"), [
        ("scores.zip", zipped.getvalue()),
        ("scores.tar", tarred.getvalue()),
    ]


@fuzz("archives")
def test_archive_bytes_are_files_inside_the_folder_or_a_reason(
    seeds: tuple[Path, list[tuple[str, bytes]]], seed: int, changes: list[Mutation]
) -> None:
    folder, kinds = seeds
    name, contents = kinds[seed % len(kinds)]
    (folder / name).write_bytes(mutated(contents, changes))
    inside = folder / "inside"
    inside.mkdir()
    try:
        outcome(lambda: extract_scores(folder / name, inside, SCORE_SUFFIXES))
        assert {path.name for path in folder.iterdir()} <= {"inside", *(name for name, _ in kinds)}
        for path in inside.rglob("*"):
            assert path.is_dir() or path.suffix.lower() in SCORE_SUFFIXES
            assert not path.is_symlink()
    finally:
        shutil.rmtree(inside)


@pytest.fixture(scope="session")
def manifests_seeds(
    tiny_shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, bytes]:
    return tmp_path_factory.mktemp("fuzz"), (tiny_shards / FILE_NAME).read_bytes()


@fuzz("manifests")
def test_manifest_bytes_are_a_manifest_or_a_reason(
    seeds: tuple[Path, bytes], seed: int, changes: list[Mutation]
) -> None:
    folder, contents = seeds
    (folder / FILE_NAME).write_bytes(mutated(contents, changes))
    manifest = outcome(lambda: Manifest.load(folder))
    if isinstance(manifest, str):
        return
    assert json.loads(manifest.to_json()) == json.loads(contents)
    for split in ("train", "valid", "test"):
        assert len(manifest.lanes(split)) == manifest.num_lanes
        assert manifest.num_tokens(split) == sum(s.num_tokens for s in manifest.of_split(split))
    # No shard lies here, so a manifest that names one is found out before anything is read.
    assert not manifest.shards or "is missing" in outcome(
        lambda: manifest.verify(folder, manifest.shards[:1])
    )


@pytest.fixture(scope="session")
def shards_seeds(
    tiny_shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Manifest, bytes]:
    manifest = Manifest.load(tiny_shards)
    contents = (tiny_shards / manifest.shards[0].file).read_bytes()
    return tmp_path_factory.mktemp("fuzz"), manifest, contents


@fuzz("shards")
def test_shard_bytes_are_what_was_written_or_a_reason(
    seeds: tuple[Path, Manifest, bytes], seed: int, changes: list[Mutation]
) -> None:
    folder, manifest, contents = seeds
    shard = manifest.shards[0]
    changed = mutated(contents, changes)
    (folder / shard.file).write_bytes(changed)
    found = outcome(lambda: manifest.verify(folder, [shard]))
    assert (found is None) == (changed == contents)
