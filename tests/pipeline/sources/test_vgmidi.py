"""VGMIDI: labels of pieces and phrases, no game in two splits, the gaps of its table said."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

import pytest

from pipeline.dataset.manifest import SPLITS
from pipeline.scores.labels import Features
from pipeline.sources.collect import content_digests, open_sources
from pipeline.sources.splits import assign_splits
from tests.pipeline.sources.data_sets import pieces_of, write_table, write_tune

Row = dict[str, object]
SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}


def vgmidi_row(
    piece: str, phrase: int, valence: object, arousal: object, game: str = "Game"
) -> dict:
    midi = f"labelled/phrases/Series_PC_{game}_{piece}_{phrase}.mid"
    row = {"id": "1", "series": "Series", "console": "PC", "game": game, "piece": piece}
    return row | {"midi": midi, "valence": valence, "arousal": arousal}


@pytest.fixture
def vgmidi(tmp_path: Path) -> Path:
    """Names as odd as the real ones, a piece of two phrases, a file too many and one too few."""
    rows = [
        vgmidi_row('Cave, the "Deep" one', 0, 1, -1),
        vgmidi_row("Café", 0, -1, 1),
        vgmidi_row("Café", 1, -1, -1),
        vgmidi_row("Theme", 0, 1, 1, "Ghosts 'n Goblins"),
        vgmidi_row("Lost", 0, 1, 1),
    ]
    folder = tmp_path / "vgmidi"
    write_table(folder / "vgmidi_labelled.csv", rows)
    names = ['Series_PC_Game_Cave, the "Deep" one', "Series_PC_Game_Café", "Series_PC_Game_Extra"]
    for i, name in enumerate([*names, "Series_PC_Ghosts 'n Goblins_Theme"]):
        write_tune(folder / "labelled" / "midi" / f"{name}.mid", 40 + i)
    with zipfile.ZipFile(folder / "labelled" / "phrases.zip", "w") as archive:
        for i, row in enumerate(rows[:-1]):
            write_tune(tmp_path / "phrase.mid", 60 + i)
            name = Path(row["midi"]).name
            archive.write(tmp_path / "phrase.mid", f"phrases/{name}")
            archive.writestr(f"__MACOSX/phrases/._{name}", b"shadow")
    return folder


def test_vgmidi_pieces_have_the_labels_on_which_their_phrases_agree(
    vgmidi: Path, capsys: pytest.CaptureFixture
) -> None:
    pieces = pieces_of(f"vgmidi:{vgmidi}")
    assert {name: piece.features for name, piece in pieces.items()} == {
        'vgmidi/Series_PC_Game_Cave, the "Deep" one.mid': Features(
            valence=1, arousal=-1, game="Game"
        ),
        "vgmidi/Series_PC_Game_Café.mid": Features(valence=-1, game="Game"),
        "vgmidi/Series_PC_Game_Extra.mid": Features(game="Game"),
        "vgmidi/Series_PC_Ghosts 'n Goblins_Theme.mid": Features(
            valence=1, arousal=1, game="Ghosts 'n Goblins"
        ),
    }
    assert capsys.readouterr().err.splitlines() == [
        "note: vgmidi_labelled.csv names a piece that is not in labelled/midi: "
        "Series_PC_Game_Lost.mid",
        "note: not in vgmidi_labelled.csv, kept without labels: Series_PC_Game_Extra.mid",
    ]


def test_vgmidi_phrases_have_labels_of_their_own_and_share_the_game_of_their_piece(
    vgmidi: Path, capsys: pytest.CaptureFixture
) -> None:
    phrases = pieces_of(f"vgmidi-phrases:{vgmidi}")
    found = {
        name.rpartition("_Game_")[2]: piece.features.arousal for name, piece in phrases.items()
    }
    assert found["Café_0.mid"] == 1
    assert found["Café_1.mid"] == -1
    assert len(phrases) == 4
    assert "names a phrase that is not there: Series_PC_Game_Lost_0.mid" in capsys.readouterr().err
    groups = {piece.group for piece in pieces_of(f"vgmidi:{vgmidi}").values()}
    assert {piece.group for piece in phrases.values()} == groups


def test_a_phrase_that_the_table_or_the_folder_has_twice_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    row = vgmidi_row("Café", 0, -1, 1)
    write_table(tmp_path / "vgmidi_labelled.csv", [row, row | {"valence": 1}])
    for first, folder in ((60, "phrases"), (70, "phrases/second")):
        write_tune(tmp_path / "labelled" / folder / "Series_PC_Game_Café_0.mid", first)
    [piece] = pieces_of(f"vgmidi-phrases:{tmp_path}").values()
    assert (piece.features.valence, piece.path.parent.name) == (-1, "phrases")
    name = "Series_PC_Game_Café_0.mid"
    assert capsys.readouterr().err.splitlines() == [
        f"note: two files have one name, the first by path is used: {name}",
        f"note: vgmidi_labelled.csv has two rows for a piece, the first is used: {name}",
    ]


def test_real_vgmidi_is_whole_and_no_game_is_in_two_splits(
    shared_data: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = shared_data / "vgmidi"
    if not folder.is_dir():
        pytest.skip(f"no VGMIDI at {folder}")
    with open_sources([f"vgmidi:{folder}", f"vgmidi-phrases:{folder}"]) as pieces:
        splits = assign_splits(pieces, content_digests(pieces), SHARES, seed=0)
        phrases = [piece for piece in pieces if piece.id.startswith("vgmidi-phrases/")]
    assert (len(pieces), len(phrases)) == (408, 204)
    by_game: dict[str, set[str]] = {}
    for piece in pieces:
        by_game.setdefault(str(piece.features.game), set()).add(splits[piece.id])
    assert len(by_game) == 30
    assert all(len(found) == 1 for found in by_game.values())
    assert set(splits.values()) == set(SPLITS)
    emotions = Counter((piece.features.valence, piece.features.arousal) for piece in phrases)
    assert emotions == {(1, 1): 76, (1, -1): 62, (-1, 1): 39, (-1, -1): 27}
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == 4
    assert all("not in vgmidi_labelled.csv, kept without labels" in note for note in notes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"valence": "happy"}, "valence is 'happy': could not convert string to float"),
        ({"arousal": "2"}, "arousal is '2': a number from -1 to 1 is needed"),
        ({"valence": "nan"}, "valence is 'nan': a number from -1 to 1 is needed"),
    ],
)
def test_a_label_that_is_no_emotion_is_one_clear_error(
    change: dict, said: str, vgmidi: Path
) -> None:
    row = vgmidi_row("Café", 0, 1, 1) | change
    write_table(vgmidi / "vgmidi_labelled.csv", [row])
    with pytest.raises(ValueError, match=r"vgmidi_labelled\.csv, row 1: ") as error:
        pieces_of(f"vgmidi:{vgmidi}")
    assert said in str(error.value)
