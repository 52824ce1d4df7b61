"""The bars of a voice -> the order in which they sound, repeats and parts played out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.scores.abc_notation.tunes import AbcError
from pipeline.scores.abc_notation.voice import Bar, Voice

PART = re.compile(r"[\s.,]*(?:\((?P<group>[^()]*)\)|(?P<part>[A-Za-z]))(?P<times>\d*)[\s.,]*")
MAX_BARS = 100_000  # of one voice: a few signs can multiply each other


def playing_orders(voices: Sequence[Voice], part_order: tuple[int, str] | None) -> list[list[int]]:
    """The places of the bars of each voice in the order in which they sound.

    A voice without signs of its own follows those of the first voice that has some, bar by bar.
    Raises AbcError for signs that are beyond this: da capo and dal segno, voices that disagree.
    """
    for voice in voices:
        if voice.jump:
            line, name = voice.jump
            raise AbcError(line, f"{name} with --expand-repeats")
        for bar in voice.bars:
            if bar.unclear:
                raise AbcError(bar.line, f"{bar.unclear} with --expand-repeats")
    if part_order is not None:
        if len(voices) > 1:
            raise AbcError(part_order[0], "an order of parts (P:) for several voices")
        return [_order_of_parts(voices[0].bars, *part_order)]
    leader = next((voice.bars for voice in voices if _has_signs(voice.bars)), None)
    if leader is None:
        return [list(range(len(voice.bars))) for voice in voices]
    led = _order(leader, range(len(leader)))
    orders: list[list[int]] = []
    for voice in voices:
        if _has_signs(voice.bars):
            orders.append(_order(voice.bars, range(len(voice.bars))))
        elif [bar.length for bar in voice.bars] == [bar.length for bar in leader]:
            orders.append(led)
        else:
            raise AbcError(voice.bars[-1].line, "a voice without the repeat signs of the others")
    return orders


def _has_signs(bars: Sequence[Bar]) -> bool:
    return any(bar.repeat_to or bar.endings for bar in bars)


def _order_of_parts(bars: Sequence[Bar], line: int, text: str) -> list[int]:
    """The parts in the order of a P: field such as `ABA`, `A2.(BC)3`; each with its repeats."""
    parts: dict[str, list[int]] = {"": []}
    name = ""
    for place, bar in enumerate(bars):
        name = bar.part or name
        parts.setdefault(name, []).append(place)
    order = _order(bars, parts[""])  # what stands before the first part sounds first
    for name in _part_names(line, text):
        if name not in parts:
            raise AbcError(line, f"part {name}, which P:{text} names, is not in the tune")
        order += _order(bars, parts[name])
        if len(order) > MAX_BARS:
            raise AbcError(line, f"more than {MAX_BARS} bars with all repeats")
    return order


def _part_names(line: int, text: str) -> str:
    names, place = "", 0
    while place < len(text):
        found = PART.match(text, place)
        if not found or len(names) > MAX_BARS:
            raise AbcError(line, f"an order of parts P:{text}")
        inner = found["part"] or _part_names(line, found["group"])
        names += inner * min(int(found["times"] or 1), MAX_BARS)
        place = found.end()
    return names


def _order(bars: Sequence[Bar], places: Sequence[int]) -> list[int]:
    """The places in the order in which they sound.

    An end of a repeat without a beginning goes back to the end of the last repeat, the last double
    bar line or the beginning, whichever is nearest (ABC 2.1, 4.8).
    """
    order: list[int] = []
    start = now = 0  # counted in `places`
    time = 1  # which time the passage sounds
    is_marked = False  # it begins with |:
    endings: dict[int, int] = {}  # time -> where its ending begins, while one of them sounds
    while now < len(places):
        bar = bars[places[now]]

        # Where a passage begins
        is_last_ending = bool(endings) and time == max(endings)
        if (bar.repeat_from and now != start) or (
            bar.begins_section
            and now > start
            and not bar.endings
            and (is_last_ending or not is_marked)
        ):
            start, time, is_marked, endings = now, 1, False, {}
        is_marked = is_marked or bool(bar.repeat_from)

        # Which ending sounds
        if bar.endings and now not in endings.values():
            endings = _endings_from(bars, places, now)
            if time not in endings:
                raise AbcError(bar.line, f"no ending for the {time}. time")
            if endings[time] != now:
                now = endings[time]
                continue

        order.append(places[now])
        if len(order) > MAX_BARS:
            raise AbcError(bar.line, f"more than {MAX_BARS} bars with all repeats")
        now += 1
        if bar.repeat_to:
            if time < (max(endings) if endings else bar.repeat_to):
                time, now, endings = time + 1, start, {}
            else:
                start, time, is_marked, endings = now, 1, False, {}
    return order


def _endings_from(bars: Sequence[Bar], places: Sequence[int], first: int) -> dict[int, int]:
    """Time -> where its ending begins, of the endings from this one on that belong together."""
    endings: dict[int, int] = {}
    for now in range(first, len(places)):
        bar = bars[places[now]]
        if bar.endings and min(bar.endings) in endings:
            break  # those of the next passage
        if endings and bar.repeat_from and not bar.endings:
            break
        endings |= dict.fromkeys(bar.endings, now)
    return endings
