"""Proof of a Horovod build: the ranks add their numbers up, each checks the sum.

Run by `make setup` on two processes. Exits 0 only when every rank got the right sum.
"""

from __future__ import annotations

import os
import sys


def main() -> int:
    """0 when the sum over the ranks is right on this rank and there are at least two of them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # one line of result, not ten of advice
    import horovod.tensorflow as hvd
    import tensorflow as tf

    hvd.init()
    size = hvd.size()
    numbers = tf.range(1_000, dtype=tf.float32) + hvd.rank()
    total = hvd.allreduce(numbers, op=hvd.Sum)
    expected = tf.range(1_000, dtype=tf.float32) * size + size * (size - 1) / 2
    right = size >= 2 and bool(tf.reduce_all(total == expected))
    print(f"rank {hvd.rank()} of {size}: allreduce {'right' if right else 'WRONG'}", flush=True)
    hvd.shutdown()
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
