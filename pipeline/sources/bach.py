"""The Bach chorales that music21 carries."""

from __future__ import annotations

from pathlib import Path

import music21


def corpus_chorales() -> list[Path]:
    """Files of the Bach chorales in music21's corpus, in the order of Riemenschneider's edition.

    Its 371 numbers are 350 different files, since 20 chorales stand there two or three times; each
    is listed once, or it could be in two splits. No file is parsed.
    """
    folder = music21.common.getCorpusFilePath()
    paths = []
    for name in dict.fromkeys(music21.corpus.chorales.Iterator(returnType="filename")):
        files = [folder / f"{name}{suffix}" for suffix in (".mxl", ".xml")]
        found = [path for path in files if path.is_file()]
        if not found:  # bwv18.5-l, whose file is called bwv18.5-lz: music21 compares the beginning
            found = sorted(folder.glob(f"{name}*"))
        paths.append(found[0])
    return paths
