"""kern: real files, held against music21 and, where it is installed, against verovio."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import music21
import pytest

from pipeline.scores.kern import reader
from pipeline.scores.kern.attacks import count_attacks
from pipeline.scores.kern.reader import kern_scores, read_kern
from pipeline.scores.quarters import NotatedRow

CORPUS = Path(music21.corpus.__file__).parent
PALESTRINA = sorted((CORPUS / "palestrina").glob("*.krn"))
OTHERS = sorted(set(CORPUS.rglob("*.krn")) - set(PALESTRINA))


@pytest.mark.parametrize(
    "path", [CORPUS / "bach" / "bwv281.krn", PALESTRINA[0]], ids=lambda path: path.stem
)
def test_a_file_that_music21_reads_right_gives_the_same_notes(path: Path) -> None:
    [score] = read_kern(path)
    ours = [
        (onset / score.resolution, pitch, length / score.resolution)
        for onset, _, pitch, length, _ in score.notes.tolist()
    ]
    parsed = music21.converter.parse(path, forceSource=True, storePickle=False)
    theirs = [
        (float(note.offset), note.pitch.midi, float(note.quarterLength))
        for part in parsed.parts
        for note in part.flatten().stripTies().notes
    ]
    assert sorted(ours) == sorted(theirs)


@pytest.mark.slow
def test_every_kern_file_of_music21s_corpus_is_read_and_its_count_agrees() -> None:
    notes = 0
    for path in [*OTHERS, *PALESTRINA]:
        scores = read_kern(path)
        assert count_attacks(path.read_text("latin-1")) == [s.notes.size for s in scores]
        notes += sum(score.notes.size for score in scores)
    assert notes == 684_329


@pytest.mark.slow
@pytest.mark.parametrize("path", [*OTHERS, *PALESTRINA[::40]], ids=lambda path: path.stem)
def test_verovio_reads_the_same_notes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verovio = pytest.importorskip("verovio")
    toolkit = verovio.toolkit()
    toolkit.setOptions({"breaks": "none", "inputFrom": "humdrum", "expandNever": True})
    # Without grace notes and arpeggios, whose time verovio takes from their neighbours.
    text = "\n".join(_bare(path.read_text("latin-1").splitlines()))
    assert toolkit.loadData(text)
    rows: list[NotatedRow] = []
    rows_of = reader._rows
    monkeypatch.setattr(reader, "_rows", lambda strikes: rows.extend(rows_of(strikes)) or rows)
    kern_scores(text)
    ours = Counter(
        (_tick(onset), pitch, _tick(onset + length)) for onset, _, pitch, length, _ in rows
    )
    assert ours == Counter(_heard_by_verovio(toolkit))


def _bare(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if line.startswith(("!", "*", "=")):
            yield line if not line.startswith("!!!") else "!!"
            continue
        tokens = ["." if "q" in token else token.replace(":", "") for token in line.split("\t")]
        yield "\t".join(tokens) if set(tokens) != {"."} else "!!"


def _tick(quarter: float) -> int:
    return round(float(quarter) * 240)


def _heard_by_verovio(toolkit: object) -> Iterator[tuple[int, int, int]]:
    """(start, pitch, end) of each note, tied ones as one; its time map strikes them apart."""
    spans: dict[str, list[float]] = {}
    for event in toolkit.renderToTimemap({}):  # type: ignore[attr-defined]
        for name in event.get("off", []):
            spans[name].append(event["qstamp"])
        for name in event.get("on", []):
            spans[name] = [event["qstamp"]]
    tied_from = {
        tie.get("endid", "")[1:]: tie.get("startid", "")[1:]
        for tie in ElementTree.fromstring(toolkit.getMEI({})).iter()  # type: ignore[attr-defined]
        if tie.tag.endswith("}tie")
    }
    ends: dict[str, float] = {}
    for name, (_, end) in spans.items():
        first = name
        while tied_from.get(first) in spans:
            first = tied_from[first]
        ends[first] = max(ends.get(first, 0), end)
    for name, end in ends.items():
        pitch = toolkit.getMIDIValuesForElement(name)["pitch"]  # type: ignore[attr-defined]
        yield _tick(spans[name][0]), pitch, _tick(end)
