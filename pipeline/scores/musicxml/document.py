"""A MusicXML file as a tree of elements, unpacked and part by part."""

from __future__ import annotations

import zipfile
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

MAX_MEBIBYTES = 256  # of XML; the longest operas have 100
CONTAINER = "META-INF/container.xml"


def load_document(path: Path) -> ElementTree.Element:
    """The <score-partwise> element of a plain or compressed (.mxl) MusicXML file.

    Raises ValueError saying what is wrong with the file.
    """
    try:
        contents = path.read_bytes()
        if zipfile.is_zipfile(path):
            contents = _unpacked(path)
        root = ElementTree.fromstring(contents)
    except (ElementTree.ParseError, zipfile.BadZipFile, KeyError, LookupError) as error:
        raise ValueError(f"not readable as MusicXML: {type(error).__name__}: {error}") from None
    for element in root.iter():  # some writers put all elements into a namespace
        if isinstance(element.tag, str) and element.tag.startswith("{"):
            element.tag = element.tag.partition("}")[2]
    if root.tag == "score-timewise":
        return _partwise(root)
    if root.tag != "score-partwise":
        raise ValueError(f"not readable as MusicXML: its root element is <{root.tag}>")
    return root


def _unpacked(path: Path) -> bytes:
    """The score in a compressed file: the first one that its container names."""
    with zipfile.ZipFile(path) as archive:
        container = ElementTree.fromstring(archive.read(CONTAINER))
        names = [e.get("full-path", "") for e in container.iter() if e.tag.endswith("rootfile")]
        if not names:
            raise KeyError(f"{CONTAINER} names no score")
        if archive.getinfo(names[0]).file_size > MAX_MEBIBYTES << 20:
            raise KeyError(f"{names[0]} has more than {MAX_MEBIBYTES} MiB")
        return archive.read(names[0])


def _partwise(root: ElementTree.Element) -> ElementTree.Element:
    """A <score-timewise> element, measure by measure, as <score-partwise>."""
    measures = defaultdict(list)
    for measure in root.findall("measure"):
        for part in measure.findall("part"):
            its_own = ElementTree.Element("measure", measure.attrib)
            its_own.extend(part)
            measures[part.get("id", "")].append(its_own)
    score = ElementTree.Element("score-partwise")
    score.extend(element for element in root if element.tag != "measure")
    for name, its_measures in measures.items():
        part = ElementTree.SubElement(score, "part", id=name)
        part.extend(its_measures)
    return score
