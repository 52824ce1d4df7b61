"""Printed words that send the player back: da capo and dal segno."""

from __future__ import annotations

import re

# Anywhere in a text, such as `Menuetto D.C. senza replica`.
JUMP_WORDS = re.compile(r"(?<![a-z])(?:d\.\s*[cs]\.|da\s*capo\b|dal\s*segno\b)", re.IGNORECASE)
# The whole text, where it says no more than from where and up to where.
PLAIN_JUMP = re.compile(
    r"(?:(?P<capo>d\.?\s*c\.?|da\s*capo)|d\.?\s*s\.?|dal\s*segno)"
    r"(?:\s+(?:sin[o']?\s+)?al?\s+(?P<until>fine|coda))?[\s.]*",
    re.IGNORECASE,
)
