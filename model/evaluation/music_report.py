"""The report of evaluate.py on composed pieces: its file in a run folder, and its table.

model/evaluation/samples.py makes it; hpc/compare.py reads it, without NumPy and TensorFlow.
"""

from __future__ import annotations

from typing import Any

from pipeline.runtime.tables import NOTHING, aligned_lines

FILE_NAME = "music.json"  # in the folder of a run


def describe(music: dict[str, Any]) -> str:
    """The comparison of composed pieces with real ones as lines of text."""
    split, metrics, copies = music["split"], music["metrics"], music["copies"]
    means = [
        (
            name,
            shown(metric["composed"]),
            interval(metric["interval"]),
            shown(metric["train"]),
            shown(metric["real"]),
            "yes" if metric["inside"] else "no",
        )
        for name, metric in metrics.items()
    ]
    means.append(
        (
            "copied windows, %",
            shown(copies["composed"], 2),
            interval(copies["interval"], 2),
            "",
            shown(copies["real"], 2),
            "yes" if copies["inside"] else "no",
        )
    )
    distances = [
        (
            name,
            shown(metric["overlap"], 2),
            shown(metric["divergence"]),
            shown(metric["real_overlap"], 2),
            shown(metric["real_divergence"]),
        )
        for name, metric in metrics.items()
    ]
    columns = ("", ">composed", ">95 % interval", ">train", f">{split}", ">inside")
    of_distances = ("", ">overlap", ">KL", f">{split}: overlap", f">{split}: KL")
    lines = [*aligned_lines(columns, means), "", *aligned_lines(of_distances, distances)]
    return "\n".join([heading(music), *lines, legend(music)])


def heading(music: dict[str, Any]) -> str:
    """A line that says how many pieces were composed, and with which settings."""
    sampling = music["sampling"]
    cut = f"; {music['unfinished']} cut before their end" if music["unfinished"] else ""
    return (
        f"{music['pieces']} pieces composed (seed {music['seed']}, temperature "
        f"{sampling['temperature']:g}, top-p {sampling['top_p']:g}, guidance "
        f"{sampling.get('guidance', 1):g}{cut}) beside real ones:"
    )


def legend(music: dict[str, Any]) -> str:
    """Lines that explain the table."""
    inside = sum(metric["inside"] for metric in music["metrics"].values())
    return (
        f"{inside} of {len(music['metrics'])} means lie inside the gap between train and "
        f"{music['split']}, plus one bootstrap interval; copies do at twice {music['split']}'s "
        "or less.\n"
        "overlap and KL: of the distances to train's pieces, as Yang and Lerch (2020) compare "
        "them; 1 and 0 are train's own.\n"
        "Voice leading is counted in 100 notes (range), chords (crossings) or chord changes."
    )


def shown(value: float | None, digits: int = 3) -> str:
    """A figure as text; a dash for None."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def interval(ends: tuple[float, float] | list[float], digits: int = 3) -> str:
    """An interval as text."""
    return f"{ends[0]:.{digits}f}..{ends[1]:.{digits}f}"
