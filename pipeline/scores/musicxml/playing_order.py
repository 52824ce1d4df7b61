"""The order in which bars are played: repeats, endings, da capo and dal segno."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree

from pipeline.scores.jump_words import JUMP_WORDS, PLAIN_JUMP

MAX_BARS = 100_000  # played; a few signs can multiply each other
TO_CODA = re.compile(r"\s*to\s*coda", re.IGNORECASE)
FINE = re.compile(r"\s*fine\s*\.?\s*$", re.IGNORECASE)


@dataclass
class Ending:
    """A bracket over bars that are played only at certain times."""

    numbers: set[int]
    first: int  # place of its first bar
    last: int
    top: int = 0  # the highest number of the endings that follow one another here


@dataclass(frozen=True)
class Jump:
    """A da capo or dal segno."""

    words: str
    to_segno: bool
    until: str = ""  # "fine" or "to coda"; empty where only those signs say it


@dataclass
class Signs:
    """What stands at one bar, in any part, that decides which bar is played next."""

    number: str  # of the bar, as written
    starts: bool = False  # a repeat starts before it
    times: int = 0  # how often the section that ends with it is played; 0 if none ends
    after_jump: bool = False  # that section is repeated after a da capo or dal segno too
    ending: Ending | None = None
    jump: Jump | None = None
    unclear: str = ""  # words that speak of a jump, and of more than where to and up to where
    found: set[str] = field(default_factory=set)  # of "segno", "coda", "to coda", "fine"


def signs_of(parts: Sequence[Sequence[ElementTree.Element]]) -> list[Signs]:
    """The signs of each bar, from the <measure> elements of all parts."""
    longest = max(parts, key=len, default=())
    signs = [Signs(measure.get("number", "?")) for measure in longest]
    for measures in parts:
        open_ending: Ending | None = None
        for place, measure in enumerate(measures):
            for barline in measure.findall("barline"):
                _check_place(barline, measure)
                open_ending = _add_barline(signs, place, barline, open_ending)
            if open_ending is not None:
                open_ending.last = place
            _add_jumps(signs[place], measure)
    _join_endings(signs)
    return signs


def _check_place(barline: ElementTree.Element, measure: ElementTree.Element) -> None:
    """Raise ValueError for a repeat sign with notes of its bar on both sides."""
    tags = [element.tag for element in measure]
    place = list(measure).index(barline)
    if (
        barline.get("location") == "middle"
        and barline.find("repeat") is not None
        and "note" in tags[:place]
        and "note" in tags[place:]
    ):
        raise ValueError(
            f"bar {measure.get('number', '?')}: a repeat sign within the bar, with "
            "--expand-repeats; make two bars of it"
        )


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
        signs[place - is_left].after_jump = repeat.get("after-jump") == "yes"
    return ending


def _add_jumps(signs: Signs, measure: ElementTree.Element) -> None:
    for sound in measure.iter("sound"):
        signs.starts = signs.starts or sound.get("forward-repeat") == "yes"
        if sound.get("dacapo") == "yes":
            signs.jump = signs.jump or Jump("D.C.", to_segno=False)
        if sound.get("dalsegno"):
            signs.jump = signs.jump or Jump("D.S.", to_segno=True)
        names = {"segno": "segno", "coda": "coda", "tocoda": "to coda", "fine": "fine"}
        signs.found |= {name for attribute, name in names.items() if sound.get(attribute)}
    for words in measure.iter("words"):
        text = " ".join((words.text or "").split())
        if plain := PLAIN_JUMP.fullmatch(text):
            until = {"fine": "fine", "coda": "to coda"}.get((plain["until"] or "").lower(), "")
            signs.jump = Jump(text, not plain["capo"], until)
        elif JUMP_WORDS.search(text):
            signs.unclear = text
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
    first bar. After a da capo or dal segno only repeats with `after-jump` are taken, and the last
    ending is played.
    Raises ValueError naming a bar whose signs contradict the others or leave the order open.
    """
    _check_starts(signs)
    _check_jumps(signs)
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
        if bar.times and (bar.after_jump or not has_jumped):
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
        elif bar.jump and not has_jumped:
            has_jumped = True
            place = _place_of(signs, "segno", bar) if bar.jump.to_segno else 0
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


def _check_jumps(signs: Sequence[Signs]) -> None:
    """Raise ValueError where it is not said which bars a da capo or dal segno plays."""
    for bar in signs:
        if bar.unclear and bar.jump is None:
            raise ValueError(_left_open(bar, bar.unclear, "which bars it plays is not clear"))
    jumps = [(bar, bar.jump) for bar in signs if bar.jump is not None]
    found = set().union(*(bar.found for bar in signs))
    if not jumps:
        for bar in signs:
            if "to coda" in bar.found or ("fine" in bar.found and bar is not signs[-1]):
                sign = "To Coda" if "to coda" in bar.found else "Fine"
                raise ValueError(_left_open(bar, sign, "no D.C. or D.S. leads there"))
        return
    bar, jump = jumps[0]
    if len(jumps) > 1:
        raise ValueError(_left_open(jumps[1][0], jumps[1][1].words, "it is the second jump"))
    if jump.to_segno:
        _place_of(signs, "segno", bar)
    if jump.until and jump.until not in found:
        raise ValueError(_left_open(bar, jump.words, f"no {jump.until.title()} is marked"))
    if bar is signs[-1] and not found & {"fine", "to coda"}:
        raise ValueError(_left_open(bar, jump.words, "neither Fine nor To Coda is marked"))


def _left_open(bar: Signs, sign: str, why: str) -> str:
    return f"bar {bar.number}: {sign!r} with --expand-repeats: {why}"


def _place_of(signs: Sequence[Signs], name: str, bar: Signs, after: int = -1) -> int:
    for place, other in enumerate(signs):
        if place > after and name in other.found:
            return place
    raise ValueError(f"contradictory repeat signs: no {name} for bar {bar.number}")
