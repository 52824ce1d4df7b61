"""The CPU layer is the Keras layer: same weights, same outputs, same gradients, less time."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from model.networks.hoisted_lstm import HoistedLSTM  # noqa: E402

FEATURES, UNITS = 6, 8
OPTIONS = {"return_sequences": True, "return_state": True}


def pair_of_layers(dtype="float32", **options):
    """A Keras layer and the hoisted one with its weights."""
    options = {**OPTIONS, **options}
    layers = [
        keras.layers.LSTM(UNITS, use_cudnn=False, dtype=dtype, **options),
        HoistedLSTM(UNITS, dtype=dtype, **options),
    ]
    for layer in layers:
        layer.build([None, None, FEATURES])
    # A bias and larger weights than the initial ones, so that gates open and close.
    rng = np.random.default_rng(1)
    weights = [rng.normal(0, 0.5, weight.shape) for weight in layers[0].weights]
    for layer in layers:
        layer.set_weights(weights)
    return layers


def normal(*shape, dtype="float32", seed=2):
    return tf.cast(np.random.default_rng(seed).normal(0, 1, shape), dtype)


def results_and_gradients(layer, inputs, hidden, cell):
    """Outputs and states, then the gradients of a sum that depends on each of them."""
    watched = [inputs, hidden, cell]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        results = layer(inputs, initial_state=[hidden, cell])
        loss = sum(
            tf.reduce_sum(result * normal(*result.shape, dtype=result.dtype, seed=seed))
            for seed, result in enumerate(results)
        )
    weights = [weight.value for weight in layer.trainable_variables]
    return [*results, *tape.gradient(loss, watched + weights)]


def problem(batch, length, dtype="float32"):
    return (
        normal(batch, length, FEATURES, dtype=dtype),
        normal(batch, UNITS, dtype=dtype, seed=3),
        normal(batch, UNITS, dtype=dtype, seed=4),
    )


def assert_all_close(actual, expected, tolerance):
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        one, other = (tf.cast(part, tf.float64).numpy() for part in (one, other))
        assert np.abs(one - other).max() <= tolerance * max(1, np.abs(other).max())


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-13)])
@pytest.mark.parametrize(("batch", "length"), [(5, 7), (1, 1), (17, 20)])
def test_outputs_states_and_every_gradient_equal_those_of_keras(dtype, tolerance, batch, length):
    theirs, ours = pair_of_layers(dtype)
    given = problem(batch, length, dtype)
    expected = results_and_gradients(theirs, *given)
    assert_all_close(results_and_gradients(ours, *given), expected, tolerance)


@pytest.mark.parametrize("batch", [5, 17])
def test_a_scaled_state_has_the_outputs_and_gradients_of_kerass_cell_given_one(batch):
    theirs, ours = pair_of_layers("float64")
    inputs, *state = problem(batch, 7, "float64")
    scale = tf.cast(normal(batch, UNITS, seed=5) > 0, tf.float64) * 2

    def by_cell(inputs, initial_state):
        (hidden, cell), outputs = initial_state, []
        for step in tf.unstack(inputs, axis=1):
            _, (hidden, cell) = theirs.cell(step, [hidden * scale, cell])
            outputs.append(hidden)
        return tf.stack(outputs, 1), hidden, cell

    by_cell.trainable_variables = theirs.trainable_variables
    expected = results_and_gradients(by_cell, inputs, *state)

    def scaled(inputs, initial_state):
        return ours(inputs, initial_state=initial_state, recurrent_scale=scale)

    scaled.trainable_variables = ours.trainable_variables
    assert_all_close(results_and_gradients(scaled, inputs, *state), expected, 1e-13)


def test_one_graph_serves_every_batch_size_and_length():
    theirs, ours = pair_of_layers()

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, FEATURES]),
            tf.TensorSpec([None, UNITS]),
            tf.TensorSpec([None, UNITS]),
        ],
        autograph=False,
    )
    def step(inputs, hidden, cell):
        with tf.GradientTape() as tape:
            outputs, *states = ours(inputs, initial_state=[hidden, cell])
            loss = tf.reduce_sum(outputs**2) + tf.reduce_sum(states[0] * states[1])
        return outputs, tape.gradient(loss, [w.value for w in ours.trainable_variables])

    for batch, length in [(2, 3), (7, 11)]:
        given = problem(batch, length)
        with tf.GradientTape() as tape:
            outputs, *states = theirs(given[0], initial_state=list(given[1:]))
            loss = tf.reduce_sum(outputs**2) + tf.reduce_sum(states[0] * states[1])
        gradients = tape.gradient(loss, [w.value for w in theirs.trainable_variables])
        actual = step(*given)
        assert_all_close([actual[0], *actual[1]], [outputs, *gradients], 1e-5)
    assert step.experimental_get_tracing_count() == 1


def test_the_gradient_can_be_taken_outside_the_graph():
    theirs, ours = pair_of_layers()
    inputs = problem(4, 6)[0]
    compiled = tf.function(lambda x: ours(x)[0], autograph=False)
    gradients = []
    for outputs_of in (compiled, lambda x: theirs(x)[0]):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(outputs_of(inputs) ** 2)
        gradients.append(tape.gradient(loss, inputs))
    assert_all_close(gradients[:1], gradients[1:], 1e-5)


def test_a_sequence_cut_in_two_or_into_single_steps_gives_the_same_outputs():
    _, layer = pair_of_layers()
    inputs, hidden, cell = problem(3, 10)
    whole, *last = layer(inputs, initial_state=[hidden, cell])
    first, *between = layer(inputs[:, :4], initial_state=[hidden, cell])
    second, *end = layer(inputs[:, 4:], initial_state=between)
    assert_all_close([tf.concat([first, second], 1), *end], [whole, *last], 1e-6)
    state = [hidden, cell]
    for time in range(10):
        output, state = layer.cell(inputs[:, time], state)
        assert_all_close([output], [whole[:, time]], 1e-6)


def test_without_a_state_a_sequence_starts_from_zeros():
    _, layer = pair_of_layers()
    inputs = problem(3, 5)[0]
    zeros = tf.zeros([3, UNITS])
    assert_all_close(layer(inputs), layer(inputs, initial_state=[zeros, zeros]), 0)


def test_the_last_output_alone_is_that_of_keras():
    theirs, ours = pair_of_layers(return_sequences=False)
    inputs = problem(3, 5)[0]
    assert_all_close(ours(inputs), theirs(inputs), 1e-6)


@pytest.mark.parametrize(("policy", "unit"), [("mixed_bfloat16", 2**-8), ("mixed_float16", 2**-11)])
def test_low_precision_products_stay_within_their_rounding_of_float32(policy, unit):
    exact = pair_of_layers()[1]
    theirs, ours = pair_of_layers(policy)
    given = problem(16, 24)
    low = [tf.cast(part, ours.compute_dtype) for part in given]
    expected = results_and_gradients(exact, *given)
    errors = []
    for layer in (ours, theirs):
        actual = results_and_gradients(layer, *low)
        differences = zip(actual, expected, strict=True)
        errors.append(
            [float(tf.norm(tf.cast(a, tf.float32) - e) / tf.norm(e)) for a, e in differences]
        )
    assert [weight.dtype for weight in ours.weights] == ["float32"] * 3
    assert max(errors[0]) < 4 * unit
    assert np.mean(errors[0]) < np.mean(errors[1])  # float32 state: nearer than Keras's own


def test_weights_have_the_paths_and_shapes_of_the_keras_layer():
    layers = [make(UNITS, name="lstm_0", **OPTIONS) for make in (keras.layers.LSTM, HoistedLSTM)]
    for layer in layers:
        layer.build([None, None, FEATURES])
    theirs, ours = ([(w.path, w.shape, w.dtype) for w in layer.weights] for layer in layers)
    assert ours == theirs
    again = HoistedLSTM.from_config(layers[1].get_config())
    assert again.units == UNITS and again.return_state


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("activation", "relu"),
        ("recurrent_activation", "hard_sigmoid"),
        ("use_bias", False),
        ("dropout", 0.5),
        ("recurrent_dropout", 0.5),
        ("go_backwards", True),
        ("unroll", True),
    ],
)
def test_what_the_layer_does_not_compute_is_refused_by_name(option, value):
    with pytest.raises(ValueError, match=option):
        HoistedLSTM(UNITS, **{option: value})


def test_a_mask_is_refused():
    _, layer = pair_of_layers()
    inputs = problem(2, 3)[0]
    with pytest.raises(ValueError, match="mask"):
        layer(inputs, mask=tf.constant([[True, True, False]] * 2))


def test_the_gradient_of_the_inputs_is_computed_after_those_of_the_weights():
    """Then the layer below goes on, while these are on their way to other workers."""
    _, layer = pair_of_layers()
    made = []

    @tf.function
    def gradients(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(layer(inputs)[0])
        found = tape.gradient(loss, [inputs, *(w.value for w in layer.trainable_variables)])
        made.extend(gradient.op for gradient in found)
        return found

    gradients(problem(2, 3)[0])
    of_inputs, *of_weights = made
    before, found = set(), [of_inputs]
    while found:
        op = found.pop()
        if op not in before:
            before.add(op)
            found += [*op.control_inputs, *(tensor.op for tensor in op.inputs)]
    products = {op.inputs[0].op if op.type == "StridedSlice" else op for op in of_weights}
    assert len(products) == 3 and products <= before
