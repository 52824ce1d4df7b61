"""The vocabularies by name, as a manifest and a checkpoint keep them."""

from __future__ import annotations

from typing import Any

from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.grid import GridVocabulary

Vocabulary = EventVocabulary | GridVocabulary
KINDS: dict[str, type[Vocabulary]] = {"events": EventVocabulary, "grid": GridVocabulary}


def vocabulary_from_dict(settings: dict[str, Any]) -> Vocabulary:
    """The vocabulary with the settings that `to_dict` returned. Raises ValueError."""
    settings = dict(settings)
    kind = str(settings.pop("kind", None))
    if kind not in KINDS:
        raise ValueError(
            f"vocabulary {kind!r} is unknown; this program has {', '.join(KINDS)}. Was the data "
            "set or checkpoint made by a newer version?"
        )
    if "conditions" in settings:
        settings["conditions"] = tuple(settings["conditions"])
    return KINDS[kind](**settings)
