"""Data sets by name: listed with what they need, and the same whatever the order of reading."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import preprocess
from pipeline.dataset.manifest import SPLITS
from pipeline.dataset.records import to_record
from pipeline.preprocessing.build import Settings, build_data_set
from pipeline.preprocessing.encoder import Encoder
from pipeline.scores.labels import FIELDS
from pipeline.sources.catalogue import NAMED_SOURCES
from pipeline.vocabulary.events import EventVocabulary
from tests.pipeline.sources.data_sets import COMMU_ROW, pieces_of, write_commu, write_tune


def test_every_source_says_what_it_needs_from_where_and_under_which_licence(
    capsys: pytest.CaptureFixture,
) -> None:
    with pytest.raises(SystemExit) as end:
        preprocess.main(["--list-sources"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    for source in NAMED_SOURCES.values():
        for text in (str(source), source.needs, source.origin, source.licence, source.split):
            assert text in said
        assert set(source.features) <= set(FIELDS)


FRAMES = json.dumps({split: [[[60, 64], [60]], [[62], []]] for split in SPLITS})
COMMU_TABLE = "\n".join(
    ",".join(f'"{cell}"' for cell in row) for row in (COMMU_ROW, COMMU_ROW.values())
)
TABLES = {
    "commu": ("commu_meta.csv", COMMU_TABLE),
    "vgmidi": (
        "vgmidi_labelled.csv",
        "id,series,console,game,piece,midi,valence,arousal\n1,S,PC,G,P,labelled/S_PC_G_P_0.mid,1,-1\n",
    ),
    "maestro": (
        "maestro-v3.0.0.json",
        '{"canonical_composer": {"0": "B"}, "split": {"0": "test"}, "year": {"0": 2018}, '
        '"midi_filename": {"0": "commu00001.mid"}}',
    ),
}


@st.composite
def damaged(draw: st.DrawFn, contents: bytes) -> bytes:
    """The contents with a few places overwritten, cut out or repeated."""
    for _ in range(draw(st.integers(1, 4))):
        start, end = sorted(draw(st.integers(0, len(contents))) for _ in range(2))
        end = min(end, start + 40)
        filling = draw(st.binary(max_size=6) | st.sampled_from([b"", contents[start:end] * 2]))
        contents = contents[:start] + filling + contents[end:]
    return contents


@pytest.fixture(scope="module")
def scored_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tune wherever one of the data sets looks for its MIDI files."""
    folder = tmp_path_factory.mktemp("damaged")
    for name in ("commu_midi/commu00001.mid", "labelled/midi/S_PC_G_P.mid", "commu00001.mid"):
        write_tune(folder / name)
    return folder


@pytest.mark.parametrize("name", ["jsb", *TABLES])
@given(data=st.data())
def test_a_damaged_table_is_pieces_or_one_error_that_names_the_file(
    name: str, scored_folder: Path, data: st.DataObject
) -> None:
    file, whole = TABLES.get(name, ("tunes-8th.json", FRAMES))
    path = scored_folder / file
    contents = whole.encode()
    path.write_bytes(data.draw(damaged(contents) | st.just(contents)))
    source = f"{name}:{scored_folder if name in ('commu', 'vgmidi') else path}"
    try:
        pieces = pieces_of(source)
    except ValueError as error:
        assert file in str(error)
        return
    assert pieces
    for piece in pieces.values():
        known = piece.features.known().items()
        assert to_record(piece.id, np.arange(3), piece.features)
        assert all(type(value) is FIELDS[feature] for feature, value in known)


@pytest.fixture(scope="module")
def mixed(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Sources of every kind: single files, labelled ones, and frames in a JSON file."""
    frames = tmp_path_factory.mktemp("frames") / "tunes-quarter.json"
    tunes = {
        split: [[[60 + i], [62, 70 + k], []] for i in range(2)] for k, split in enumerate(SPLITS)
    }
    frames.write_text(json.dumps(tunes))
    files = sorted(map(str, tiny_corpus.iterdir()))[:4]
    commu = write_commu(tmp_path_factory.mktemp("commu"))
    return [*files, f"commu:{commu}", f"nottingham:{frames}"]


@pytest.fixture(scope="module")
def ids(mixed: list[str]) -> dict[str, list[int]]:
    """The ids of every piece, read in one order."""
    encode = Encoder(EventVocabulary())
    return {name: encode(piece)[0].ids.tolist() for name, piece in pieces_of(*mixed).items()}


@given(data=st.data())
def test_the_order_of_the_sources_never_changes_the_ids_of_a_piece(
    mixed: list[str], ids: dict[str, list[int]], data: st.DataObject
) -> None:
    pieces = pieces_of(*data.draw(st.permutations(mixed)))
    assert list(pieces) == sorted(ids)
    name = data.draw(st.sampled_from(sorted(pieces)))
    assert Encoder(EventVocabulary())(pieces[name])[0].ids.tolist() == ids[name]


def test_neither_order_nor_number_of_processes_changes_a_byte(
    mixed: list[str], tmp_path: Path
) -> None:
    shards = []
    for number, order in ((1, mixed), (2, mixed[::-1])):
        out = tmp_path / str(number)
        build_data_set(Settings(tuple(order), out, num_lanes=2, num_processes=number))
        shards.append({path.name: path.read_bytes() for path in out.glob("*.tfrecord")})
    assert shards[0] == shards[1]
    assert len(shards[0]) == 6
