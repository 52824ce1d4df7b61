#!/usr/bin/env bash
# converter21 4.0.1 cannot read a Humdrum file with a reference record when music21 is 10.5.1.
#
# Nearly every published **kern file names its composer or title in such a record (!!!COM:, !!!OTL:).
# pip accepts these two versions together; without the record the same file is read.
#
# Expected:  with !!!COM: 4 notes                     without: 4 notes
# Seen:      with !!!COM: AttributeError: 'Metadata' object has no attribute: '_convertValue'
#            without: 4 notes
# Exits 0 while converter21 does what is described here, 1 if that changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet converter21==4.0.1 music21==10.5.1

printf '%b' '**kern\n*M4/4\n=1\n4c\n4d\n4e\n4f\n*-\n' > "$folder/without.krn"
{ printf '!!!COM: Bach, Johann Sebastian\n'; cat "$folder/without.krn"; } > "$folder/with.krn"

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata
import sys

import converter21
import music21

folder = sys.argv[1]
print("converter21", importlib.metadata.version("converter21"), "music21", music21.VERSION_STR)
converter21.register()


def outcome(name):
    try:
        score = music21.converter.parse(f"{folder}/{name}.krn", format="humdrum", forceSource=True)
        return f"{len(score.flatten().notes)} notes"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


with_record, without = outcome("with"), outcome("without")
print("with !!!COM:", with_record)
print("without:", without)
as_described = "_convertValue" in with_record and without == "4 notes"
print("as described" if as_described else "CHANGED: read the head of this file again")
sys.exit(not as_described)
PYTHON
