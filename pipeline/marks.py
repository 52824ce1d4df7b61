"""Ids that mean the same in every vocabulary."""

PAD, START, END = 0, 1, 2  # START begins every piece, END ends it
MARKS = 3  # the first id that is music
