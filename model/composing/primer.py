"""The primer of a piece: the music that the composer continues, from a file or notes by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.scores.notes import Score
from pipeline.vocabulary.registry import Vocabulary


def read_primer(text: str, vocabulary: Vocabulary, say: Callable[[str], None] = print) -> Score:
    """The primer as the vocabulary can express it, from a file or from notes; reports changes.

    Raises ValueError for a file that is missing or no score, and for a word that is no note.
    """
    from pipeline.scores.formats import SCORE_SUFFIXES
    from pipeline.scores.reading import notes_from_names, read_score

    path = Path(text)
    is_file = path.suffix.lower() in SCORE_SUFFIXES
    if is_file and not path.is_file():
        raise ValueError(f"primer {path} does not exist. Give a score file, or notes: 'C4 E4 G4'")
    try:
        score = read_score(path) if is_file else notes_from_names(text)
    except ValueError as error:
        raise ValueError(f"primer {text!r}: {error}") from None
    fitted, adjustments = vocabulary.fit(score)
    for rule, count in adjustments.items():
        say(f"primer: {rule}: {count} of {score.notes.size} notes")
    return fitted
