"""What was read differently from what the file says is counted, and reaches the manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.preprocessing.encoder import Encoder
from pipeline.scores.formats import MIDI_READERS, Reading
from pipeline.sources.piece import Piece
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.grid import GridVocabulary
from pipeline.vocabulary.registry import Vocabulary
from tests.pipeline.scores.test_reading import midi_bytes

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
        adjustments = encoder(Piece("score", path)).adjustments
        assert adjustments["notes never ended"] == 1
        assert adjustments["notes given one step"] == 1
        assert adjustments["percussion left out"] == 1
