"""Imported once by the server that forks training processes, so that each saves the seconds.

Only imports: TensorFlow makes its threads when it is first used, and those would not be forked.
"""

import importlib
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as pipeline/runtime/command.py has it

for name in ("run_folder.journal", "training.profiling", "training.train_step", "train"):
    importlib.import_module(f"hpc.{name}")
for name in ("allreduce_timing", "devices"):
    importlib.import_module(f"hpc.distributed.{name}")
