"""The order in which bars are played: repeats, endings, da capo and dal segno."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree

MAX_BARS = 100_000  # played; a few signs can multiply each other
DA_CAPO = re.compile(r"\s*(d\.?\s*c\b|da\s*capo)", re.IGNORECASE)
DAL_SEGNO = re.compile(r"\s*(d\.?\s*s\b|dal\s*segno)", re.IGNORECASE)
TO_CODA = re.compile(r"\s*to\s*coda", re.IGNORECASE)
FINE = re.compile(r"\s*fine\s*\.?\s*$", re.IGNORECASE)


@dataclass
class Ending:
    """A bracket over bars that are played only at certain times."""

    numbers: set[int]
    first: int  # place of its first bar
    last: int
    top: int = 0  # the highest number of the endings that follow one another here


@dataclass
class Signs:
    """What stands at one bar, in any part, that decides which bar is played next."""

    number: str  # of the bar, as written
    starts: bool = False  # a repeat starts before it
    times: int = 0  # how often the section that ends with it is played; 0 if none ends
    ending: Ending | None = None
    jumps_to: str = ""  # "da capo" or "dal segno"
    found: set[str] = field(default_factory=set)  # of "segno", "coda", "to coda", "fine"


def signs_of(parts: Sequence[Sequence[ElementTree.Element]]) -> list[Signs]:
    """The signs of each bar, from the <measure> elements of all parts."""
    longest = max(parts, key=len, default=())
    signs = [Signs(measure.get("number", "?")) for measure in longest]
    for measures in parts:
        open_ending: Ending | None = None
        for place, measure in enumerate(measures):
            for barline in measure.findall("barline"):
                open_ending = _add_barline(signs, place, barline, open_ending)
            if open_ending is not None:
                open_ending.last = place
            _add_jumps(signs[place], measure)
    _join_endings(signs)
    return signs


def _add_barline(
    signs: list[Signs], place: int, barline: ElementTree.Element, ending: Ending | None
) -> Ending | None:
    """Add the signs of a bar line; the ending that is open after it."""
    is_left = barline.get("location", "right") == "left"
    sign, repeat = barline.find("ending"), barline.find("repeat")
    if sign is not None and sign.get("type") == "start":
        numbers = {int(number) for number in re.findall(r"\d+", sign.get("number", ""))}
        ending = signs[place].ending = Ending(numbers or {1}, place, place)
    elif sign is not None and ending is not None:
        ending.last, ending = place, None
    if repeat is not None and repeat.get("direction") == "forward":
        if place + (not is_left) < len(signs):
            signs[place + (not is_left)].starts = True
    elif repeat is not None and place - is_left >= 0:
        signs[place - is_left].times = int(repeat.get("times", 2))
    return ending


def _add_jumps(signs: Signs, measure: ElementTree.Element) -> None:
    for sound in measure.iter("sound"):
        if sound.get("dacapo") == "yes":
            signs.jumps_to = "da capo"
        if sound.get("dalsegno"):
            signs.jumps_to = "dal segno"
        names = {"segno": "segno", "coda": "coda", "tocoda": "to coda", "fine": "fine"}
        signs.found |= {name for attribute, name in names.items() if sound.get(attribute)}
    for words in measure.iter("words"):
        text = words.text or ""
        if DA_CAPO.match(text):
            signs.jumps_to = "da capo"
        elif DAL_SEGNO.match(text):
            signs.jumps_to = "dal segno"
        elif TO_CODA.match(text):
            signs.found.add("to coda")
        elif FINE.match(text):
            signs.found.add("fine")
    if any(True for _ in measure.iter("segno")):
        signs.found.add("segno")
    if any(True for _ in measure.iter("coda")) and "to coda" not in signs.found:
        signs.found.add("coda")


def _join_endings(signs: list[Signs]) -> None:
    """Give each bar its ending, and each ending the highest number of those beside it."""
    group: list[Ending] = []
    for ending in [bar.ending for bar in signs if bar.ending is not None]:
        if not group or ending.first > group[-1].last + 1 or ending.numbers & group[-1].numbers:
            group = []
        group.append(ending)
        for place in range(ending.first, ending.last + 1):
            signs[place].ending = ending
        for other in group:
            other.top = max(max(each.numbers) for each in group)


def playing_order(signs: Sequence[Signs]) -> list[int]:
    """The places of the bars as they are played.

    The end of a repeat without a start goes back to the end of the repeat before it, or to the
    first bar. After a da capo or dal segno no repeats are taken, and the last ending is played.
    Raises ValueError naming a bar whose signs contradict the others.
    """
    _check_starts(signs)
    order: list[int] = []
    place = start = 0
    time = 1  # which time the section is played
    has_jumped = False
    while place < len(signs):
        bar, ending = signs[place], signs[place].ending
        if bar.starts and place != start:
            start, time = place, 1

        # An ending of another time is passed over.
        if ending is not None and (ending.top if has_jumped else time) not in ending.numbers:
            if time > ending.top:
                start, time = ending.last + 1, 1
            place = ending.last + 1
            continue

        order.append(place)
        if len(order) > MAX_BARS:
            raise ValueError(f"more than {MAX_BARS} bars with all repeats")

        # The end of a repeat goes back to its start, or the section is over.
        if bar.times and not has_jumped:
            if time < max(bar.times, ending.top if ending else 0):
                place, time = start, time + 1
                continue
            start, time = place + 1, 1
        elif ending is not None and place == ending.last and ending.top in ending.numbers:
            start, time = place + 1, 1

        if has_jumped and "fine" in bar.found:
            break
        if has_jumped and "to coda" in bar.found:
            place = _place_of(signs, "coda", bar, after=place)
        elif bar.jumps_to and not has_jumped:
            has_jumped = True
            place = 0 if bar.jumps_to == "da capo" else _place_of(signs, "segno", bar)
            start, time = place, 1
        else:
            place += 1
    return order


def _check_starts(signs: Sequence[Signs]) -> None:
    """Raise ValueError where a repeat starts and does not end before the next start."""
    open_start: Signs | None = None
    for bar in signs:
        if bar.starts and open_start is not None:
            break
        open_start = bar if bar.starts else open_start
        open_start = None if bar.times else open_start
    if open_start is not None:
        raise ValueError(
            "contradictory repeat signs: the repeat that starts at bar "
            f"{open_start.number} has no end"
        )


def _place_of(signs: Sequence[Signs], name: str, bar: Signs, after: int = -1) -> int:
    for place, other in enumerate(signs):
        if place > after and name in other.found:
            return place
    raise ValueError(f"contradictory repeat signs: no {name} for bar {bar.number}")
