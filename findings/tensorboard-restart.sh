#!/usr/bin/env bash
# TensorBoard 2.18.0 shows a step twice after a restart of a run that TensorFlow 2.18.1 records.
#
# Expected: a program that was killed after step 4 and continues from step 2 shows steps 1 to 5 once.
# Happens: steps 3 and 4 are there twice. tf.summary.create_file_writer has no purge_step and writes no
# SessionLog START event, at the second of which TensorBoard's server drops the points of the earlier
# life. With such events EventAccumulator, which programs read files with, keeps them still: it drops old
# points of five kinds, and the scalars of TensorFlow 2 are of the sixth, tensors.
#
# Seen:
#   without START: server 1 2 3 4 3 4 5, EventAccumulator 1 2 3 4 3 4 5
#   with START: server 1 2 3 4 5, EventAccumulator 1 2 3 4 3 4 5
#
# Exits 0 while this is so, else shows the difference and exits 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorflow-cpu==2.18.1 tensorboard==2.18.0 'setuptools<81'
cat >"$folder/seen.py" <<'PYTHON'
import sys
import time
from pathlib import Path

import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter


def life(folder, steps):
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default():
        for step in steps:
            tf.summary.scalar("loss", 1.0 / step, step=step)
    writer.close()
    time.sleep(1.1)  # the names of event files hold the second


def start(folder, step):
    folder.mkdir(exist_ok=True)
    with (folder / f"events.out.tfevents.{int(time.time())}.start").open("wb") as stream:
        writer = RecordWriter(stream)
        writer.write(Event(file_version="brain.Event:2").SerializeToString())
        log = SessionLog(status=SessionLog.START)
        writer.write(Event(step=step, session_log=log).SerializeToString())
    time.sleep(1.1)


for said, has_start in (("without START", False), ("with START", True)):
    folder = Path(sys.argv[1]) / said
    for steps in (range(1, 5), range(3, 6)):
        if has_start:
            start(folder, steps[0])
        life(folder, steps)
    found = []
    for name, module in (
        ("server", plugin_event_accumulator),
        ("EventAccumulator", event_accumulator),
    ):
        shown = module.EventAccumulator(str(folder))
        shown.Reload()
        found.append(" ".join([name, *(str(event.step) for event in shown.Tensors("loss"))]))
    print(f"{said}:", ", ".join(found))
PYTHON
sed -n 's/^#   //p' "$0" >"$folder/expected.txt"
"$folder/venv/bin/python" "$folder/seen.py" "$folder" 2>/dev/null |
    diff "$folder/expected.txt" - && echo "as stated"
