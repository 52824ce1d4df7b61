#!/usr/bin/env bash
# music21 10.5.1 loses notes of a **kern file without an error, and misplaces others.
#
# A spine that is split (*^), and one of whose halves is split again, is valid Humdrum and common in
# piano music (The Humdrum User Guide, chapter 5). music21 keeps 5 of the 9 notes below.
# In a spine added by *+ the notes begin at 0, not where the spine is added.
# See also https://github.com/cuthbertLab/music21/issues/1882.
#
# Expected:  split: 9 notes, the last at 4.0          added: E3 at 4.0, F3 at 6.0
# Seen:      split: 5 notes, the last at 4.0          added: E3 at 0.0, F3 at 2.0
# Exits 0 while music21 does what is described here, 1 if that changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet music21==10.5.1

printf '%b' '**kern\n*M4/4\n=1\n*^\n*\t*^\n4c\t4e\t4g\n4d\t4f\t4a\n*\t*v\t*v\n2c\t2e\n*v\t*v\n=2\n1g\n*-\n' \
  > "$folder/split.krn"
printf '%b' '**kern\n*M4/4\n=1\n2c\n2d\n*+\n*\t**kern\n=2\t=2\n2e\t2E\n2f\t2F\n*-\t*-\n' \
  > "$folder/added.krn"

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

import music21

folder = sys.argv[1]
print("music21", music21.VERSION_STR)


def heard(name):
    notes = music21.converter.parse(f"{folder}/{name}.krn", forceSource=True).flatten().notes
    return [(float(note.offset), note.nameWithOctave) for note in notes]


split, added = heard("split"), heard("added")
print(f"split: {len(split)} notes of 9:", split)
print("added:", added)
as_described = len(split) == 5 and (0.0, "E3") in added and (2.0, "F3") in added
print("as described" if as_described else "CHANGED: read the head of this file again")
sys.exit(not as_described)
PYTHON
