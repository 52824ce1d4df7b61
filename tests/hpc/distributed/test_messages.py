"""In which groups the gradients of a step are sent."""

import tensorflow as tf

from hpc.distributed.messages import messages_of, num_bytes

# Two layers of 512 units: embedding, kernel, recurrent kernel and bias of each layer, logits.
LAYER = (512, 2048), (2048,)
BASE = [(229, 256), (256, 2048), *LAYER, (512, 2048), *LAYER, (512, 229), (229,)]


def test_gradients_leave_in_groups_from_the_last_layer_to_the_first() -> None:
    """Of 15.4 MB a group has 1.9 MB or more: one matrix of 4.2 or 2.1 MB; the last has the rest."""
    sent = [[tuple(spec.shape) for spec in message] for message in messages_of("none", BASE)]
    assert sent == [
        [(229,), (512, 229), (2048,), (512, 2048)],
        [(512, 2048)],
        [(2048,), (512, 2048)],
        [(256, 2048)],
        [(229, 256)],
    ]


def test_half_the_bytes_leave_in_the_same_groups() -> None:
    exact, half = messages_of("none", BASE), messages_of("fp16", BASE)
    assert [2 * num_bytes(message) for message in half] == list(map(num_bytes, exact))
    assert all(spec.dtype == tf.float16 for message in half for spec in message)


def test_thin_matrices_leave_in_the_same_groups_each_in_two_messages() -> None:
    """Of rank 32: 1.5 MB in all, 0.19 MB or more a group."""
    sent = [[tuple(spec.shape) for spec in message] for message in messages_of("powersgd:32", BASE)]
    assert sent == [
        [(229,), (512, 32), (2048,), (512, 32)],
        [(229, 32), (2048, 32)],
        [(512, 32)],
        [(2048, 32)],
        [(2048,), (512, 32)],
        [(2048, 32)],
        [(256, 32)],
        [(2048, 32)],
        [(229, 32)],
        [(256, 32)],
    ]


def test_gradients_of_64_kib_in_all_leave_together() -> None:
    assert len(messages_of("none", [(64, 128), (64, 128)])) == 1
    assert len(messages_of("none", [(128, 128), (128, 128)])) == 2
