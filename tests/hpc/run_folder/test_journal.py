"""The record of a run that was killed: one entry and one point of a curve for each step."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hpc.distributed.launcher import Place
from hpc.run_folder.journal import Journal
from hpc.run_folder.layout import METRICS, SAMPLES
from pipeline.runtime.files import read_lines

FACTS = {"strategy": "single", "hosts": ["dorchester"]}


def record(run_dir: Path, steps: range, *, evaluated: int) -> Journal:
    """Record the steps of one life of a run, with an evaluation at every third; it stays open."""
    journal = Journal(run_dir, Place(), step=steps[0] - 1, evaluated=evaluated, total_steps=99)
    journal.stretch(steps[0], FACTS, {"preset": "tiny"})
    for step in steps:
        journal.scalars(step, "train", loss=1.0 / step)
        if step % 3 == 0:
            journal.scalars(step, "valid", loss=2.0 / step)
    return journal


def points(run_dir: Path, split: str) -> list[int]:
    """The steps, sorted, of the points that TensorBoard shows of a split's loss.

    It reads the files of one process and second in the order of their names, .10 before .9.
    """
    shown = EventAccumulator(str(run_dir), size_guidance={"tensors": 0})
    shown.Reload()
    return sorted(event.step for event in shown.Tensors(f"1 loss/{split}"))


def event_files(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("*tfevents*"))


def test_tensorboard_shows_one_point_a_step_after_a_kill(tmp_path: Path) -> None:
    record(tmp_path, range(1, 9), evaluated=0)  # killed: never closed
    record(tmp_path, range(5, 11), evaluated=3).close()
    assert points(tmp_path, "train") == [*range(1, 11)]
    assert points(tmp_path, "valid") == [3, 6, 9]
    for split in ("train", "valid"):
        entries = [entry for entry in read_lines(tmp_path / METRICS) if entry["split"] == split]
        assert [entry["step"] for entry in entries] == points(tmp_path, split)


def test_an_evaluation_that_a_checkpoint_lacks_is_shown_once(tmp_path: Path) -> None:
    record(tmp_path, range(1, 7), evaluated=0).close()
    record(tmp_path, range(7, 8), evaluated=3).scalars(6, "valid", loss=0.5)
    assert points(tmp_path, "valid") == [3, 6]


def test_a_record_that_a_kill_cut_short_goes_and_the_rest_stays(tmp_path: Path) -> None:
    record(tmp_path, range(1, 5), evaluated=0).close()
    [file] = event_files(tmp_path)
    file.write_bytes(file.read_bytes()[:-5])
    file.with_name(file.name + ".partial").write_bytes(file.read_bytes())
    record(tmp_path, range(4, 6), evaluated=3).close()
    assert points(tmp_path, "train") == [*range(1, 6)]
    assert len(event_files(tmp_path)) == 2


def test_lives_without_a_checkpoint_leave_no_event_files(tmp_path: Path) -> None:
    for _ in range(5):
        record(tmp_path, range(1, 3), evaluated=0)
    assert len(event_files(tmp_path)) == 1


def test_an_event_file_without_newer_steps_keeps_its_bytes(tmp_path: Path) -> None:
    record(tmp_path, range(1, 5), evaluated=0).close()
    record(tmp_path, range(5, 6), evaluated=3).close()  # cuts the first file's settings
    first = min(event_files(tmp_path), key=lambda file: file.stat().st_mtime_ns)
    before = first.stat()
    record(tmp_path, range(6, 7), evaluated=3).close()
    after = first.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_samples_of_later_steps_go_too(tmp_path: Path) -> None:
    samples = tf.summary.create_file_writer(str(tmp_path / SAMPLES))
    for step in (2, 4, 6):
        with samples.as_default(step=step):
            tf.summary.scalar("7 music/polyphony", 1.0)
    samples.close()
    record(tmp_path, range(5, 6), evaluated=3).close()
    shown = EventAccumulator(str(tmp_path / SAMPLES))
    shown.Reload()
    assert [event.step for event in shown.Tensors("7 music/polyphony")] == [2, 4]


def test_an_older_run_keeps_its_curves_and_profiles_under_the_present_names(tmp_path: Path) -> None:
    older = (
        tmp_path / "tensorboard"
    )  # where they lay, and TensorBoard called the run RUN/tensorboard
    for folder, tags in {
        "": ("train/loss", "valid/loss"),
        "samples": ("valid_music/pitch_range",),
    }.items():
        writer = tf.summary.create_file_writer(str(older / folder))
        for step in (3, 6):
            with writer.as_default(step=step):
                for tag in tags:
                    tf.summary.scalar(tag, 1.0 / step)
        writer.close()
    trace = older / "rank-0" / "plugins" / "profile" / "now" / "host.xplane.pb"
    trace.parent.mkdir(parents=True)
    trace.write_bytes(b"trace")
    record(tmp_path, range(7, 10), evaluated=3).close()
    assert points(tmp_path, "train") == [3, 6, 7, 8, 9]
    assert points(tmp_path, "valid") == [3, 9]
    samples = EventAccumulator(str(tmp_path / SAMPLES)).Reload()
    assert [event.step for event in samples.Tensors("7 music/pitch range")] == [3, 6]
    assert (tmp_path / trace.relative_to(older)).read_bytes() == b"trace"
    assert not older.exists()


def test_event_files_that_cannot_be_written_are_an_error_of_one_line(tmp_path: Path) -> None:
    journal = record(tmp_path, range(1, 3), evaluated=0)
    (events,) = event_files(tmp_path)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As a full disk does, for any user; metrics.jsonl is shorter than the event file.
    resource.setrlimit(resource.RLIMIT_FSIZE, (events.stat().st_size + 100, limit[1]))
    try:
        with pytest.raises(OSError, match=r"tfevents could not be written \(.*File too l") as f:
            for step in range(3, 20):
                journal.scalars(step, "train", loss=1.0)
        journal.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "\n" not in str(f.value) and "{{" not in str(f.value)
    assert str(f.value).endswith("Mend that and run the same command again")
