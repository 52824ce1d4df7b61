"""Command: compose samples of a run's music while it trains, and write them for TensorBoard.

hpc/train.py starts it, once --samples-after seconds have passed, so that short runs have none. A
process with one thread and the lowest priority loads the checkpoint that was just saved, composes,
and writes sound, pictures and metrics into RUN/samples. On a busy core the scheduler gives it
1.4 % beside the trainer (nice 19: 15 of 1024 + 15), 12 % beside a trainer of nice 10.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):  # run as a script: import from the root, not from hpc/
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from pipeline.runtime.interpreter import explain_missing_libraries

    explain_missing_libraries()

import psutil

from hpc.run_folder.layout import REAL, SAMPLES
from hpc.run_folder.tags import music_tag
from pipeline.runtime.command import Parser, signals_interrupt

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from model.composing.composer import Composer
    from pipeline.scores.notes import Score
    from pipeline.scores.parts import Parts

BARS, BEATS_PER_BAR, TEMPO = 8, 4, 100.0
SEED, TOP_P = 1, 0.95  # always the same, so that the samples of one run can be compared


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 when standard input has ended, 1 after SIGTERM."""
    parser = Parser(
        description="Samples for TensorBoard of the steps named on standard input; "
        "hpc/train.py starts it."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    run_dir = parser.parse_args(argv).run
    os.nice(19)
    from pipeline.runtime.tensorflow_loading import load_tensorflow

    load_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    # Its name is known before it is made: a signal while tempfile makes a folder would leave that.
    temporary = Path(tempfile.gettempdir()) / f"chorale-samples-{os.getpid()}"
    try:
        with signals_interrupt():
            temporary.mkdir(mode=0o700)
            tempfile.tempdir = str(temporary)
            write_samples(run_dir)
    except KeyboardInterrupt:  # the trainer ends; what was written so far stays
        return 1
    finally:
        for child in psutil.Process().children():  # FluidSynth, if the signal came at its start
            child.kill()
            child.wait()
        shutil.rmtree(temporary, ignore_errors=True)
    return 0


def write_samples(run_dir: Path) -> None:
    """Write a sample for the newest of the steps named on standard input, until that ends."""
    # TensorBoard reads one event file of a folder at a time, and shows entries of the same tag in
    # two folders side by side.
    writers = {folder: open_writer(run_dir, folder) for folder in (SAMPLES, REAL)}
    pending = b""
    while received := os.read(0, 4096):
        lines = (pending + received).split(b"\n")
        pending = lines.pop()
        if not lines:
            continue
        try:
            write_sample(writers, run_dir, int(lines[-1]))
        except (ValueError, OSError) as error:  # a checkpoint that was already removed, say
            print(f"step {int(lines[-1])}: {error}", file=sys.stderr, flush=True)


def open_writer(run_dir: Path, folder: str) -> tf.summary.SummaryWriter:
    """A writer of summaries into one of the folders."""
    import tensorflow as tf

    return tf.summary.create_file_writer(str(run_dir / folder))


def write_sample(writers: dict[str, tf.summary.SummaryWriter], run_dir: Path, step: int) -> None:
    """Compose with the checkpoint of a step, and write the piece for TensorBoard.

    The first sample comes with a real piece to compare with. At every step a histogram shows the
    probabilities that the network gives the real piece's tokens. Raises ValueError or OSError.
    """
    import tensorflow as tf

    from model.composing.composer import Composer
    from model.composing.pieces import Length
    from model.composing.sampling import Sampling
    from model.networks.checkpoint import read_bundle
    from pipeline.scores.notes import opening
    from pipeline.scores.parts import Parts

    checkpoint = wait_for_checkpoint(run_dir, step)
    bundle = read_bundle(checkpoint, optimizer=False)
    composer = Composer.of(bundle, checkpoint)
    vocabulary = composer.vocabulary
    steps = BARS * BEATS_PER_BAR * vocabulary.steps_per_quarter
    length = Length.of_steps(steps, vocabulary.steps_per_quarter)
    (piece,) = composer.compose([0], Sampling(top_p=TOP_P), length, SEED)
    real_ids = first_piece(Path(bundle.run["config"]["data"]))
    parts = Parts(vocabulary.part_names)
    if writer := writers.pop(REAL, None):
        show(writer, step, opening(vocabulary.decode(real_ids, TEMPO), steps), "real", parts)
        writer.close()
    score = composer.score(piece, length, TEMPO)
    show(writers[SAMPLES], step, score, f"step {step}", parts)
    with writers[SAMPLES].as_default(step=step):
        probability = real_token_probability(composer, real_ids)
        tf.summary.histogram(music_tag("probability of a real token"), probability)
    writers[SAMPLES].flush()


def show(
    writer: tf.summary.SummaryWriter, step: int, score: Score, title: str, parts: Parts
) -> None:
    """Write the score's metrics, sound and piano roll. Raises ValueError without any note."""
    import tensorflow as tf

    from model.metrics.score_metrics import measure_score
    from model.rendering.audio import render_wav
    from model.rendering.piano_roll import save_piano_roll
    from model.rendering.soundfonts import find_soundfont
    from pipeline.scores.midi.writer import write_midi

    with writer.as_default(step=step), tempfile.TemporaryDirectory() as folder:
        for name, value in measure_score(score).items():
            tf.summary.scalar(music_tag(name), value)
        if not score.notes.size:
            raise ValueError("the composed piece holds no note yet: no sound, no picture")
        midi, wav, png = (Path(folder) / f"piece.{suffix}" for suffix in ("mid", "wav", "png"))
        write_midi(score, midi, parts)
        render_wav(midi, wav, find_soundfont(), score.seconds)
        save_piano_roll(score, png, title)
        samples, rate = tf.audio.decode_wav(wav.read_bytes())
        mono = tf.reduce_mean(samples, axis=1, keepdims=True)  # half the bytes
        tf.summary.audio(music_tag("sound"), mono[None], int(rate))
        picture = tf.io.decode_png(png.read_bytes(), channels=3)
        tf.summary.image(music_tag("piano roll"), picture[None])


def real_token_probability(composer: Composer, ids: np.ndarray) -> tf.Tensor:
    """The probabilities [num_tokens] that the network gives a piece's tokens after its opening.

    Of frames only those of the voices, because a STEP is certain.
    """
    import numpy as np
    import tensorflow as tf

    from model.evaluation.likelihood import frame_nats
    from pipeline.vocabulary.grid import GridVocabulary

    vocabulary = composer.vocabulary
    if isinstance(vocabulary, GridVocabulary):
        (nats,) = frame_nats([composer.model], vocabulary, [vocabulary.decode_frames(ids)])
        return tf.constant(np.exp(-nats).ravel(), tf.float32)
    tokens = tf.constant(ids[None], tf.int32)
    logits, _ = composer.model(tokens[:, :-1])
    return tf.gather(tf.nn.softmax(logits), tokens[:, 1:], batch_dims=2)[0]


def first_piece(data_dir: Path) -> np.ndarray:
    """The ids of the first piece of the valid split or, if that is empty, of the train split."""
    from pipeline.dataset.manifest import Manifest
    from pipeline.dataset.records import read_pieces

    manifest = Manifest.load(data_dir)
    split = "valid" if manifest.num_pieces("valid") else "train"
    return next(ids for _, ids in read_pieces(data_dir, manifest, split))


def wait_for_checkpoint(run_dir: Path, step: int) -> Path:
    """The checkpoint of a step, when it is written. Raises ValueError if it does not come."""
    from model.networks.checkpoint import FILE_NAME, step_folder

    folder = step_folder(run_dir, step)
    deadline = time.monotonic() + 60
    while not (folder / FILE_NAME).exists():
        if time.monotonic() > deadline:
            raise ValueError(f"{folder} was not written, or was removed before its turn")
        time.sleep(0.2)
    return folder


if __name__ == "__main__":
    sys.exit(main())
