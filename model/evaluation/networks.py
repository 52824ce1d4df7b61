"""Evaluation of trained networks: likelihood, pictures, composed pieces beside real ones."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.rendering.output_files import warn_of_replacing
from pipeline.runtime.files import fresh_path, write_json
from pipeline.runtime.tables import print_line, print_lines
from pipeline.runtime.tensorflow_loading import load_tensorflow

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from model.composing.composer import Composer
    from pipeline.sources.json_frames import FrameSet
    from pipeline.vocabulary.grid import GridVocabulary


LISTENING_PAGE = Path("listening-test.html")


def evaluate_networks(flags: argparse.Namespace, frame_set: FrameSet) -> dict[str, Any]:
    """The report of trained networks; also prints it and draws the plots asked for."""
    composers = open_networks(flags.runs)  # first, because it loads TensorFlow without log lines
    from model.evaluation.likelihood import frame_nats, voices_of
    from model.evaluation.protocols import describe, report

    vocabulary = _one_grid(composers, flags.runs, frame_set)
    splits = {
        split: [
            voices_of(piece, frame_set.has_voices, vocabulary.voices)
            for piece in frame_set.splits[split]
        ]
        for split in (flags.split, *(["train"] if flags.samples is not None else []))
    }
    models = [composer.model for composer in composers]
    nats = frame_nats(models, vocabulary, splits[flags.split], flags.transpositions)
    names = " + ".join(str(composer.checkpoint) for composer in composers)
    family = _family(len(models), flags.transpositions)
    contents = report(frame_set, flags.split, nats, names, family)
    # The STEPs count as tokens too; they cost 0 nats, because they are certain.
    per_frame = contents["nats_per_frame"]
    contents["nats_per_token"] = per_frame / vocabulary.tokens_per_frame
    contents |= {"models": len(models), "transpositions": flags.transpositions}
    print_lines(describe(contents).splitlines())
    if flags.plots:
        _draw_likelihood(flags, splits[flags.split], nats, vocabulary)
        draw_pitches(composers[0], flags.runs[0], flags.plots)
    if flags.samples is not None:
        contents["music"] = _compose(flags, composers[0], vocabulary, splits, frame_set.has_voices)
    return contents


def evaluate_emotions(flags: argparse.Namespace) -> dict[str, Any]:
    """The comparison of composed pieces with labelled ones; also prints it.

    Raises ValueError as `compare_emotions` does.
    """
    (composer,) = open_networks(flags.runs)
    from model.evaluation.emotion import compare_emotions, describe

    comparison = compare_emotions(composer, Path(flags.data), flags)
    print_lines(describe(comparison))
    return comparison


def listening_test(flags: argparse.Namespace, frame_set: FrameSet) -> None:
    """Write the page of a listening test, and its key. Raises ValueError or OSError."""
    from model.rendering.write_pieces import choose_soundfont, require_libraries

    # Look for everything that may be missing before the seconds of loading TensorFlow.
    require_libraries("mido", "midi2audio", "soundfile")
    soundfont = choose_soundfont(flags)
    page, key = _choose_page(flags.page)
    (composer,) = open_networks(flags.runs)
    from model.composing.sampling import Sampling
    from model.evaluation import listening_test as test

    count, seed, split = flags.listening_test, flags.seed, flags.split
    vocabulary = _one_grid([composer], flags.runs, frame_set)
    real = test.real_excerpts(frame_set, split, vocabulary, count, seed)
    if page not in (flags.page, LISTENING_PAGE):
        print_line(f"{LISTENING_PAGE} is of an earlier call: this one writes {page}")
    sampling = Sampling(flags.temperature, top_p=flags.top_p, guidance=flags.guidance)
    composed, num_short = test.composed_excerpts(composer, count, sampling, seed)
    test.write_listening_test(page, key, [*composed, *real], vocabulary, soundfont, seed)
    lines = [
        f"page: {page} ({page.stat().st_size / 1e6:.1f} MB, the sound is in it): {2 * count} "
        f"excerpts of {test.QUARTERS} quarters, half of them composed",
        f"key: {key}, not to be sent with the page",
    ]
    if num_short:
        lines.append(f"{num_short} composed pieces ended before {test.QUARTERS} quarters: left out")
    print_lines(lines)


def frames_of_data_set(folder: Path, split: str) -> FrameSet:
    """A split of a data set of the grid vocabulary as frames. Raises ValueError for another one."""
    from pipeline.dataset.manifest import Manifest
    from pipeline.vocabulary.grid import GridVocabulary

    manifest = Manifest.load(folder)
    vocabulary = manifest.open_vocabulary
    if not isinstance(vocabulary, GridVocabulary):
        raise ValueError(
            f"{folder} has no frames; make it with: pipeline/preprocess.py SOURCE --vocabulary grid"
        )
    manifest.verify(folder)
    load_tensorflow()
    from pipeline.dataset.records import read_pieces
    from pipeline.sources.json_frames import FrameSet

    pieces = [vocabulary.decode_frames(ids) for _, ids in read_pieces(folder, manifest, split)]
    return FrameSet({split: pieces}, vocabulary.steps_per_quarter, has_voices=True)


def _choose_page(named: Path | None) -> tuple[Path, Path]:
    """The page that was named, or a new one, and the file of its key; what is replaced is said."""

    def key_of(page: Path) -> Path:
        return page.with_name(f"{page.stem}-key.txt")

    if named:
        warn_of_replacing([named, key_of(named)])
        return named, key_of(named)
    page = fresh_path(LISTENING_PAGE, lambda path: path.exists() or key_of(path).exists())
    return page, key_of(page)


def open_networks(runs: Sequence[Path]) -> list[Composer]:
    """The composers of the runs, each from its best checkpoint."""
    load_tensorflow()
    from model.composing.composer import Composer

    return [Composer.load(run) for run in runs]


def _one_grid(
    composers: Sequence[Composer], runs: Sequence[Path], frame_set: FrameSet
) -> GridVocabulary:
    """The vocabulary of all networks. Raises ValueError unless it is one, and fits the frames."""
    from pipeline.vocabulary.grid import GridVocabulary

    first = composers[0].vocabulary
    for composer, run in zip(composers, runs, strict=True):
        vocabulary = composer.vocabulary
        if not isinstance(vocabulary, GridVocabulary):
            raise ValueError(
                f"{run} was trained on events, whose likelihood is not that of the same frames. "
                "Train on a data set made with: pipeline/preprocess.py SOURCE --vocabulary grid"
            )
        if vocabulary.steps_per_quarter != frame_set.steps_per_quarter:
            raise ValueError(
                f"{run} was trained on {vocabulary.steps_per_quarter} frames a quarter and the "
                f"data have {frame_set.steps_per_quarter}"
            )
        if vocabulary != first:
            raise ValueError(
                f"{runs[0]} and {run} speak different vocabularies ({first}; {vocabulary}): only "
                "models of the same notes can be averaged"
            )
    assert isinstance(first, GridVocabulary)
    return first


def _family(num_models: int, num_transpositions: int) -> str:
    """The kind of model that a figure belongs to, and what was averaged, in words."""
    kind = "left-to-right model of the whole frame, voice after voice"
    if num_models == num_transpositions == 1:
        return f"one {kind}, no averaging of models"
    return (
        f"AVERAGED: {num_models} {kind.replace('model', 'model' + 's' * (num_models > 1))}, each "
        f"piece in {num_transpositions} transposition{'s' * (num_transpositions > 1)} as far as "
        "its range allows; the mean of the probabilities of every note"
    )


def _draw_likelihood(
    flags: argparse.Namespace,
    pieces: Sequence[np.ndarray],
    nats: Sequence[np.ndarray],
    vocabulary: GridVocabulary,
) -> None:
    """Draw where the model is surprised: by voice and place in all pieces, note by note in one."""
    import numpy as np

    from model.evaluation.plots import places_figure, surprise_figure

    mean = float(np.concatenate(nats).mean())
    title = f"{flags.split} split, {len(pieces)} pieces, {mean:.4f} nats per note"
    _save(places_figure(nats, vocabulary, title), flags.plots / "places.png")
    means = [float(piece.mean()) for piece in nats]
    median = int(np.argsort(means)[len(means) // 2])  # neither the easiest piece nor the hardest
    title = f"piece {median} of the {flags.split} split, {means[median]:.4f} nats per note"
    figure = surprise_figure(pieces[median], nats[median], vocabulary, title)
    _save(figure, flags.plots / "surprise.png")


def draw_pitches(composer: Composer, run: Path, folder: Path) -> None:
    """Draw the map of the network's weights of each pitch."""
    from model.evaluation.pitch_map import pitch_map

    figure = pitch_map(composer.model, composer.vocabulary, f"pitches as {run} weighs them")
    _save(figure, folder / "pitches.png")


def _compose(
    flags: argparse.Namespace,
    composer: Composer,
    vocabulary: GridVocabulary,
    real: dict[str, list[np.ndarray]],
    has_voices: bool,
) -> dict[str, Any]:
    """Compose pieces and compare them with real ones; the comparison, which is also printed.

    It goes into the run's folder, and with --plots into a picture.
    """
    from model.composing.sampling import Sampling
    from model.evaluation.music_report import FILE_NAME, describe
    from model.evaluation.samples import compare_with_real, compose_samples

    sampling = Sampling(flags.temperature, top_p=flags.top_p, guidance=flags.guidance)
    samples = compose_samples(composer, flags.samples, sampling, flags.seed)
    music, values = compare_with_real(samples, real, vocabulary, has_voices=has_voices)
    music |= {
        "seed": flags.seed,
        "sampling": {
            "temperature": flags.temperature,
            "top_p": flags.top_p,
            "guidance": flags.guidance,
        },
    }
    print_lines(describe(music).splitlines())
    run = flags.runs[0]
    if (run / "checkpoints").is_dir():
        write_json(run / FILE_NAME, music)
        print(f"wrote {run / FILE_NAME}, which hpc/compare.py shows")
    if flags.plots:
        from model.evaluation.plots import samples_figure

        _save(samples_figure(values, music), flags.plots / "samples.png")
    return music


def _save(figure: Figure, path: Path) -> None:
    from pipeline.runtime.plotting import save

    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"wrote {save(figure, path)}")
