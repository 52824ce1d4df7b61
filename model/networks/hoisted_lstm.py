"""The LSTM layer for CPU: large matrix products outside the time loop, with its own gradient.

`keras.layers.LSTM` multiplies inputs and state at every step, and its gradient adds up the weights'
gradient at every step. Here one product serves the inputs of all steps; the loop over time holds
only the recurrent product and the gates. Backwards, the loop holds only the gradients of the gates
and the recurrent product. One product each for the weights, the bias and the inputs follows, over
all steps at once. cuDNN does the same on a GPU (Appleyard et al., 2016, arXiv:1604.01946).

Inside the loops a step of a large batch is [features, batch], not [batch, features]. With a batch
of 32 and 512 units `U^T h` then runs at the rate of a large product, up to twice that of `h U`; and
the four gates are blocks of rows, which `tf.split` returns without copying. With a batch of 4 `h U`
is four times as fast as `U^T h`. Figures: hpc/results/lstm.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

Tensors = tuple[tf.Tensor, ...]
SAVED = 6  # tensors that a step saves for the gradient
SMALL_BATCH = 16  # up to here a step is [batch, features]


class HoistedLSTM(keras.layers.LSTM):
    """`keras.layers.LSTM` with the same weights and numbers, about twice as fast to train on CPU.

    Takes the arguments of `keras.layers.LSTM`. Raises ValueError for those that it does not
    support: masks, other activations, no bias, dropout inside the layer, going backwards,
    unrolling. The caller passes dropout of the hidden state as `recurrent_scale`.
    """

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(units, use_cudnn=False, **options)
        unsupported = {
            "activation": self.activation is not keras.activations.tanh,
            "recurrent_activation": self.recurrent_activation is not keras.activations.sigmoid,
            "use_bias": not self.use_bias,
            "dropout": self.dropout > 0,
            "recurrent_dropout": self.recurrent_dropout > 0,
            "go_backwards": self.go_backwards,
            "unroll": self.unroll,
        }
        if any(unsupported.values()):
            names = ", ".join(name for name, wrong in unsupported.items() if wrong)
            raise ValueError(
                f"HoistedLSTM computes only the default of {names}: use keras.layers.LSTM"
            )

    def call(
        self,
        sequences: tf.Tensor,
        initial_state: Any = None,
        mask: Any = None,
        training: bool = False,
        recurrent_scale: tf.Tensor | None = None,
    ) -> Any:
        """What `keras.layers.LSTM` returns.

        `recurrent_scale` [batch, units] multiplies the hidden state before each recurrent product.
        """
        if recurrent_scale is not None:
            # Keras passes nothing of ours to inner_loop: the scale travels with the initial state.
            if initial_state is None:
                initial_state = self.get_initial_state(batch_size=tf.shape(sequences)[0])
            initial_state = [*initial_state, recurrent_scale]
        return super().call(sequences, initial_state, mask, training)

    def inner_loop(
        self,
        sequences: tf.Tensor,
        initial_state: list[tf.Tensor],
        mask: Any,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """The last output, all outputs, and the final state: what `keras.layers.RNN` needs.

        `initial_state` is the hidden and the cell state, and the recurrent scale if there is one.
        """
        if any(part is not None for part in tf.nest.flatten(mask)):
            raise ValueError("HoistedLSTM takes no mask: use keras.layers.LSTM")
        hidden, cell, *optional_scale = initial_state
        scale = optional_scale[0] if optional_scale else None
        # Inside a custom gradient MultiWorkerMirroredStrategy accepts tensors, not its variables.
        weights = [
            tf.convert_to_tensor(weight.value)
            for weight in (self.cell.kernel, self.cell.recurrent_kernel, self.cell.bias)
        ]

        @tf.custom_gradient
        def run(*tensors: tf.Tensor) -> tuple[Tensors, Callable[..., Tensors]]:
            return hoisted_lstm(scale, *tensors)

        outputs, hidden, cell = run(sequences, hidden, cell, *weights)
        return hidden, outputs, [hidden, cell]


def hoisted_lstm(
    scale: tf.Tensor | None,
    inputs: tf.Tensor,
    hidden: tf.Tensor,
    cell: tf.Tensor,
    kernel: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    bias: tf.Tensor,
) -> tuple[Tensors, Callable[..., Tensors]]:
    """The hidden state after every step, hidden state and cell after the last; their gradient.

    inputs [batch, time, features]; hidden and cell [batch, units]: the state before the first step;
    kernel [features, 4 units], recurrent_kernel [units, 4 units], bias [4 units]: the blocks of
    columns are input gate, forget gate, candidate, output gate, as in Keras. All have one dtype.
    If it is bfloat16 or float16, only the products are in it; gates and state are float32. `scale`
    [batch, units] multiplies the hidden state before each recurrent product; it has no gradient.
    """
    layout = Layout.of_batch(inputs.shape[0])
    step_scale = None if scale is None else layout.state(scale)
    projected = tf.nn.bias_add(tf.matmul(_flatten(inputs), kernel), bias)
    states, last_cell, saved = _forward(
        layout,
        layout.by_step(_unflatten(projected, inputs)),
        layout.state(hidden),
        layout.state(cell),
        layout.turned(recurrent_kernel),
        step_scale,
    )
    dtype = inputs.dtype
    states = tf.cast(states, dtype)  # [time + 1, STEP]: first the one before the first step
    outputs = layout.by_piece(states[1:])
    outputs.set_shape([*inputs.shape[:2], hidden.shape[-1]])

    def gradient(d_outputs: tf.Tensor, d_hidden: tf.Tensor, d_cell: tf.Tensor) -> Tensors:
        d_gates, *d_start = _backward(
            layout,
            layout.by_step(d_outputs),
            layout.state(d_hidden),
            layout.state(d_cell),
            layout.turned(tf.transpose(recurrent_kernel)),
            step_scale,
            saved,
        )
        d_gates = _flatten(layout.by_piece(d_gates))  # [batch * time, 4 units]
        # [batch, time, units]: the hidden state before each step
        before = layout.by_piece(states[:-1])
        if scale is not None:
            before *= tf.cast(scale, dtype)[:, None]
        # One after the other, so that what is complete can be sent while the rest is computed.
        # A product with ones adds up the rows at the speed of memory, tf.reduce_sum at a sixth.
        d_bias = tf.matmul(tf.ones_like(d_gates[:, :1]), d_gates, transpose_a=True)[0]
        d_recurrent = tf.matmul(_flatten(before), d_gates, transpose_a=True)
        with tf.control_dependencies([d_recurrent, d_bias]):
            d_kernel = tf.matmul(_flatten(inputs), d_gates, transpose_a=True)
        with tf.control_dependencies([d_kernel]):
            d_inputs = _unflatten(tf.matmul(d_gates, kernel, transpose_b=True), inputs)
        d_start = [tf.cast(layout.turned(state), dtype) for state in d_start]
        return d_inputs, *d_start, d_kernel, d_recurrent, d_bias

    last = layout.turned(states[-1]), tf.cast(layout.turned(last_cell), dtype)
    return (outputs, *last), gradient


@dataclass(frozen=True)
class Layout:
    """How a step lies inside the loops: STEP is [features, batch], or [batch, features]."""

    features_first: bool

    @classmethod
    def of_batch(cls, size: int | None) -> Layout:
        """The layout whose recurrent product is the faster one; None is a size not known yet."""
        return cls(size is None or size > SMALL_BATCH)

    @property
    def features(self) -> int:
        """The axis of the features in a step."""
        return 0 if self.features_first else 1

    def turned(self, x: tf.Tensor) -> tf.Tensor:
        """[batch, features] as STEP, or back; weights [features, n] as a factor of `product`."""
        return tf.transpose(x) if self.features_first else x

    def state(self, x: tf.Tensor) -> tf.Tensor:
        """[batch, features] as STEP, in the dtype of gates and state."""
        return _accumulator(self.turned(x))

    def by_step(self, x: tf.Tensor) -> tf.Tensor:
        """[batch, time, features] as [time, STEP]."""
        return tf.transpose(x, [1, 2, 0] if self.features_first else [1, 0, 2])

    def by_piece(self, x: tf.Tensor) -> tf.Tensor:
        """[time, STEP] as [batch, time, features]."""
        return tf.transpose(x, [2, 0, 1] if self.features_first else [1, 0, 2])

    def product(self, x: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
        """STEP times weights [features, n], as STEP of n features; `factor`: the weights turned."""
        x = tf.cast(x, factor.dtype)
        return tf.matmul(factor, x) if self.features_first else tf.matmul(x, factor)

    def split(self, x: tf.Tensor, sizes: int | list[int]) -> list[tf.Tensor]:
        """STEP cut by its features."""
        return tf.split(x, sizes, axis=self.features)


def _forward(
    layout: Layout,
    projected: tf.Tensor,
    hidden: tf.Tensor,
    cell: tf.Tensor,
    factor: tf.Tensor,
    scale: tf.Tensor | None,
) -> Tensors:
    """All hidden states [time + 1, STEP], the last cell, and a stack for `_backward`.

    `projected[time]` is a view; a TensorArray would first copy all steps into itself.
    """
    length, units = tf.shape(projected)[0], hidden.shape[layout.features]
    states = tf.TensorArray(hidden.dtype, length + 1).write(0, hidden)
    saved = tf.raw_ops.EmptyTensorList(
        element_shape=_known(hidden), max_num_elements=-1, element_dtype=hidden.dtype
    )

    def step(
        time: tf.Tensor,
        hidden: tf.Tensor,
        cell: tf.Tensor,
        states: tf.TensorArray,
        saved: tf.Tensor,
    ) -> tuple[Any, ...]:
        scaled = hidden if scale is None else hidden * scale
        recurrent = layout.product(scaled, factor)
        sums = _accumulator(projected[time]) + _accumulator(recurrent)
        sigmoids, candidate, out = layout.split(sums, [2 * units, units, units])
        keep_in, forget = layout.split(tf.sigmoid(sigmoids), 2)
        candidate, out = tf.tanh(candidate), tf.sigmoid(out)
        new_cell = forget * cell + keep_in * candidate
        squashed = tf.tanh(new_cell)
        new_hidden = out * squashed
        saved = _push(saved, keep_in, forget, candidate, out, squashed, cell)
        return time + 1, new_hidden, new_cell, states.write(time + 1, new_hidden), saved

    _, _, cell, states, saved = tf.while_loop(
        lambda time, *_: time < length, step, (0, hidden, cell, states, saved)
    )
    return states.stack(), cell, saved


def _backward(
    layout: Layout,
    d_outputs: tf.Tensor,
    d_hidden: tf.Tensor,
    d_cell: tf.Tensor,
    factor: tf.Tensor,
    scale: tf.Tensor | None,
    saved: tf.Tensor,
) -> Tensors:
    """Gradients of the gates' sums [time, STEP] and of the state before the first step.

    d_outputs [time, STEP]; d_hidden and d_cell STEP: those of the last state.
    """
    length = tf.shape(d_outputs)[0]
    d_gates = tf.TensorArray(factor.dtype, length)

    def step(
        time: tf.Tensor,
        d_hidden: tf.Tensor,
        d_cell: tf.Tensor,
        d_gates: tf.TensorArray,
        saved: tf.Tensor,
    ) -> tuple[Any, ...]:
        saved, (keep_in, forget, candidate, out, squashed, cell) = _pop(saved, d_cell)
        d_hidden += _accumulator(d_outputs[time])
        d_out = _sigmoid_gradient(out, d_hidden * squashed)
        d_cell += _tanh_gradient(squashed, d_hidden * out)
        d_in = _sigmoid_gradient(keep_in, d_cell * candidate)
        d_forget = _sigmoid_gradient(forget, d_cell * cell)
        d_candidate = _tanh_gradient(candidate, d_cell * keep_in)
        d_sums = tf.concat([d_in, d_forget, d_candidate, d_out], layout.features)
        d_sums = tf.cast(d_sums, factor.dtype)
        d_hidden = _accumulator(layout.product(d_sums, factor))
        if scale is not None:
            d_hidden *= scale
        return time - 1, d_hidden, d_cell * forget, d_gates.write(time, d_sums), saved

    _, d_hidden, d_cell, d_gates, _ = tf.while_loop(
        lambda time, *_: time >= 0, step, (length - 1, d_hidden, d_cell, d_gates, saved)
    )
    return d_gates.stack(), d_hidden, d_cell


def _push(stack: tf.Tensor, *tensors: tf.Tensor) -> tf.Tensor:
    """The stack with the tensors on its top."""
    for tensor in tensors:
        stack = tf.raw_ops.TensorListPushBack(input_handle=stack, tensor=tensor)
    return stack


def _pop(stack: tf.Tensor, like: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """The stack without the tensors of a step, and these tensors, each of the shape of `like`."""
    tensors: list[tf.Tensor] = []
    for _ in range(SAVED):
        stack, tensor = tf.raw_ops.TensorListPopBack(
            input_handle=stack, element_shape=_known(like), element_dtype=like.dtype
        )
        tensor.set_shape(like.shape)
        tensors.insert(0, tensor)
    return stack, tensors


def _sigmoid_gradient(output: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Gradient times s'(x) = s (1 - s), in one pass over memory."""
    return tf.raw_ops.SigmoidGrad(y=output, dy=gradient)


def _tanh_gradient(output: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Gradient times tanh'(x) = 1 - tanh(x)^2, in one pass over memory."""
    return tf.raw_ops.TanhGrad(y=output, dy=gradient)


def _accumulator(x: tf.Tensor) -> tf.Tensor:
    """The tensor in the dtype of gates and state: float32 unless its own is wider."""
    return tf.cast(x, tf.float32) if x.dtype.size < 4 else x


def _known(x: tf.Tensor) -> list[int]:
    """The shape, with -1 for a size not known yet."""
    return [-1 if size is None else size for size in x.shape]


def _flatten(x: tf.Tensor) -> tf.Tensor:
    """[batch, time, features] as [batch * time, features]."""
    return tf.reshape(x, [-1, x.shape[-1]])


def _unflatten(x: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """[batch * time, features] as [batch, time, features], batch and time those of `like`."""
    batch_and_time = tf.shape(like)[:2]
    return tf.reshape(x, tf.concat([batch_and_time, [x.shape[-1]]], 0))
