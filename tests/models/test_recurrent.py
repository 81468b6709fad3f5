"""Recurrent layers against plain loops in float64, PyTorch and finite differences."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn
from jax.sharding import PartitionSpec
from jax.test_util import check_grads

from dlresearch.errors import UserError
from dlresearch.models import Recurrent, count_flops, recurrent_cudnn
from dlresearch.models.recurrent_cells import Cell, run_cell
from dlresearch.models.recurrent_cudnn import cudnn_weights
from dlresearch.models.recurrent_parallel import linear_recurrence
from dlresearch.parallel.mesh import abstract_mesh
from dlresearch.parallel.sharding import parameter_shardings
from helpers.references import part, reference

BATCH, STEPS, FEATURES, WIDTH = 3, 5, 2, 4
LENGTHS = np.array([5, 0, 3], np.int32)
CELLS = ("lstm", "gru", "rnn", "mingru", "minlstm")


def inputs(features=FEATURES):
    noise = np.random.default_rng(0).standard_normal((BATCH, STEPS, features))
    return jnp.asarray(noise, jnp.float32)


def first_carry(model):
    """A carry of noise."""
    random = np.random.default_rng(1)
    states = 2 if model.cell == "lstm" else 1

    def state():
        arrays = [random.standard_normal((BATCH, WIDTH)).astype(np.float32) for _ in range(states)]
        return tuple(arrays) if states == 2 else arrays[0]

    return tuple(state() for _ in range(model.layers * (2 if model.bidirectional else 1)))


def noisy_parameters(model, features=FEATURES):
    """Parameters of noise, so that no bias or scale is left at its beginning."""
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((BATCH, STEPS, features)), train=False)
    )["params"]
    random = np.random.default_rng(2)
    return jax.tree.map(
        lambda leaf: (0.7 * random.standard_normal(leaf.shape)).astype(np.float32), shapes
    )


def apply(model, params, x, carry=None, lengths=None, train=False, seed=0):
    rngs = {"dropout": jax.random.key(seed)}
    return model.apply({"params": params}, x, carry, lengths, train=train, rngs=rngs)


# Compiled as a whole: for small arrays that is faster than one operation after the other.
run = jax.jit(apply, static_argnums=0, static_argnames="train")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def standardised(x):
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5)


def formula_step(cell, p, x, state, layer_norm):
    """One step for one row, as the papers have it; `state` is (output, cell)."""
    h, c = state
    a = x @ p["kernel"]
    b = h @ p["recurrent_kernel"] if "recurrent_kernel" in p else 0
    if layer_norm:
        a = standardised(a) * p["input_norm"]
        b = standardised(b) * p["recurrent_norm"] if "recurrent_norm" in p else 0
    a = a + p["bias"]
    if cell == "lstm":
        i, f, g, o = np.split(a + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        seen = standardised(c) * p["cell_norm"] + p["cell_norm_bias"] if layer_norm else c
        return sigmoid(o) * np.tanh(seen), c
    if cell == "gru":
        (ar, az, an), (br, bz, bn) = np.split(a, 3), np.split(b, 3)
        z, new = sigmoid(az + bz), np.tanh(an + sigmoid(ar + br) * (bn + p["recurrent_bias"]))
        return (1 - z) * new + z * h, c
    if cell == "rnn":
        return np.tanh(a + b), c
    if cell == "mingru":
        z, new = np.split(a, 2)
        return (1 - sigmoid(z)) * h + sigmoid(z) * new, c
    f, i, new = np.split(a, 3)
    f, i = sigmoid(f), sigmoid(i)
    return f / (f + i) * h + i / (f + i) * new, c


def formula(model, params, x, carry, lengths):
    """All of `Recurrent` without dropout, row by row and step by step in float64."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    x, after = np.asarray(x, np.float64), []
    directions = ("", "_reverse") if model.bidirectional else ("",)
    for layer in range(model.layers):
        outputs = np.zeros((*x.shape[:2], len(directions) * WIDTH))
        for d, suffix in enumerate(directions):
            start = carry[layer * len(directions) + d]
            start = start if model.cell == "lstm" else (start, start)
            last = [np.array(each, np.float64) for each in start]
            for row, length in enumerate(lengths):
                state = last[0][row], last[1][row]
                for step in range(length)[:: -1 if suffix else 1]:
                    p = params[f"layer_{layer}{suffix}"]
                    new = formula_step(model.cell, p, x[row, step], state, model.layer_norm)
                    share = model.zoneout
                    pairs = zip(state, new, strict=True)
                    state = tuple(share * o + (1 - share) * n for o, n in pairs)
                    outputs[row, step, d * WIDTH : (d + 1) * WIDTH] = state[0]
                last[0][row], last[1][row] = state
            after.append(tuple(last) if model.cell == "lstm" else last[0])
        x = outputs + x if layer and model.residual else outputs
    return x, tuple(after)


VARIANTS = [
    *[{"cell": cell} for cell in CELLS],
    {"layers": 2, "bidirectional": True, "residual": True},
    {"cell": "gru", "layers": 2, "residual": True, "zoneout": 0.25, "unroll": 2, "remat": True},
    {"cell": "mingru", "bidirectional": True, "zoneout": 0.25, "layer_norm": True},
    {"zoneout": 0.25, "layer_norm": True},
    {"cell": "gru", "layer_norm": True},
    {"cell": "rnn", "layer_norm": True},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_outputs_and_carry_are_those_of_the_formulas(options):
    model = Recurrent(WIDTH, **options)
    params, carry, x = noisy_parameters(model), first_carry(model), inputs()
    outputs, after = run(model, params, x, carry, LENGTHS)
    expected, expected_after = formula(model, params, x, carry, LENGTHS)
    # States of order 1 after five steps in float32: some ten units in the last place.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        (outputs, after),
        (expected, expected_after),
    )


# --- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [
        Cell("lstm"),
        Cell("gru"),
        Cell("rnn"),
        Cell("lstm", layer_norm=True, zoneout=0.25),
        Cell("gru", layer_norm=True, zoneout=0.25, random=True),
    ],
    ids=str,
)
def test_the_gradient_is_that_of_finite_differences(cell):
    with jax.enable_x64(True):
        random = np.random.default_rng(0)

        def noise(*shape):
            return jnp.asarray(random.standard_normal(shape))

        gates = cell.gates * WIDTH
        names = {"recurrent_bias": WIDTH} if cell.name == "gru" else {}
        if cell.layer_norm:
            names["recurrent_norm"] = gates
            names |= {"cell_norm": WIDTH, "cell_norm_bias": WIDTH} if cell.name == "lstm" else {}
        vectors = {name: noise(size) for name, size in names.items()}
        states = tuple(noise(2, WIDTH) for _ in range(cell.states))
        kept = (noise(3, 2, WIDTH) > 0,) * cell.states if cell.random else ()

        def every_state(projected, recurrent, vectors, states):
            return run_cell(cell, 1, projected, recurrent, vectors, states, kept)

        arguments = (noise(3, 2, gates), noise(WIDTH, gates), vectors, states)
        check_grads(jax.jit(every_state), arguments, 1, modes=("rev",))


def test_the_gradient_of_the_parallel_recurrence_is_that_of_finite_differences():
    with jax.enable_x64(True):
        random = np.random.default_rng(0)
        decay = jnp.asarray(random.uniform(0, 1, (5, 2, 3)))
        added, first = (jnp.asarray(random.standard_normal(shape)) for shape in ((5, 2, 3), (2, 3)))
        check_grads(jax.jit(linear_recurrence), (decay, added, first), 1, modes=("rev",))


def test_decays_of_zero_and_one_and_long_sequences_are_exact():
    decay = np.ones((500, 1, 1), np.float32)
    decay[-1] = 0
    states = jax.jit(linear_recurrence)(decay, np.ones_like(decay), np.zeros((1, 1), np.float32))
    np.testing.assert_array_equal(states[:-1, 0, 0], np.arange(1, 500))
    assert states[-1, 0, 0] == 1


def from_torch(cell, arrays):
    """Parameters or gradients of two bidirectional layers by the names of this library."""
    layers = {}
    for layer, suffix in itertools.product((0, 1), ("", "_reverse")):
        place = f"l{layer}{suffix}"
        layers[f"layer_{layer}{suffix}"] = names = {
            "kernel": arrays[f"weight_ih_{place}"].T,
            "recurrent_kernel": arrays[f"weight_hh_{place}"].T,
            "bias": arrays[f"bias_ih_{place}"],
        }
        if cell == "gru":
            names["recurrent_bias"] = arrays[f"bias_hh_{place}"][2 * WIDTH :]
    return layers


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_outputs_and_gradients_are_those_of_pytorch(cell):
    recorded = reference("recurrent")
    expected = part(recorded, cell)
    model = Recurrent(WIDTH, cell=cell, layers=2, bidirectional=True)

    def loss(params, x):
        outputs, after = apply(model, params, x, lengths=recorded["lengths"])
        return (outputs**2).sum() + sum((each**3).sum() for each in jax.tree.leaves(after)), outputs

    (of_params, of_x), outputs = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(
        from_torch(cell, part(expected, "weights")), recorded["inputs"]
    )
    np.testing.assert_allclose(outputs, expected["outputs"], atol=2e-6)
    np.testing.assert_allclose(of_x, expected["inputs_gradient"], rtol=1e-4, atol=1e-4)
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4),
        of_params,
        from_torch(cell, part(expected, "gradients")),
    )


@pytest.mark.parametrize("options", [{}, {"cell": "gru"}, {"cell": "minlstm"}], ids=str)
def test_what_stands_beyond_the_lengths_changes_nothing(options):
    model = Recurrent(WIDTH, bidirectional=True, **options)
    params, x = noisy_parameters(model), inputs()
    valid = (np.arange(STEPS) < LENGTHS[:, None])[..., None]

    def loss(params, x):
        outputs, after = apply(model, params, x, lengths=LENGTHS)
        return (outputs**2).sum() + sum((each**2).sum() for each in jax.tree.leaves(after)), outputs

    gradients = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
    (of_params, of_x), outputs = gradients(params, jnp.where(valid, x, 0))
    (of_params_2, of_x_2), outputs_2 = gradients(params, jnp.where(valid, x, 1e3))
    assert np.all(np.asarray(of_x)[~valid[..., 0]] == 0)
    assert np.all(np.asarray(outputs)[~valid[..., 0]] == 0)
    for one, other in ((of_params, of_params_2), (of_x, of_x_2), (outputs, outputs_2)):
        jax.tree.map(np.testing.assert_array_equal, one, other)
    # Nor does the width of the padding.
    wider, _ = run(model, params, jnp.pad(x, ((0, 0), (0, 2), (0, 0))), lengths=LENGTHS)
    # Another program, which may round in another way.
    np.testing.assert_allclose(wider[:, :STEPS], outputs, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_two_halves_with_a_carry_are_the_whole(cell):
    model = Recurrent(WIDTH, cell=cell, layers=2)
    params, x = noisy_parameters(model), inputs()
    whole, after = run(model, params, x)
    first, between = run(model, params, x[:, :2])
    second, last = run(model, params, x[:, 2:], between)
    # Three programs, which may round in three ways.
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), last, after)
    assert all(leaf.shape == (BATCH, WIDTH) for leaf in jax.tree.leaves(after))


# --- what is random -----------------------------------------------------------------------------


def identity_layers(cell="mingru"):
    """Parameters with which each minGRU hands its input on: an open gate and an identity."""
    kernel = np.concatenate([np.zeros((WIDTH, WIDTH)), np.eye(WIDTH)], 1).astype(np.float32)
    bias = np.concatenate([np.full(WIDTH, 100), np.zeros(WIDTH)]).astype(np.float32)
    return {f"layer_{number}": {"kernel": kernel, "bias": bias} for number in range(2)}


def test_locked_dropout_has_one_mask_for_all_steps_and_other_dropout_has_many():
    ones = jnp.ones((50, STEPS, WIDTH))
    for locked in (True, False):
        model = Recurrent(WIDTH, cell="mingru", layers=2, dropout=0.25, locked=locked)
        outputs = np.asarray(run(model, identity_layers(), ones, train=True)[0])
        np.testing.assert_allclose(outputs[outputs != 0], 4 / 3, rtol=1e-6)
        assert bool((outputs == outputs[:, :1]).all()) is locked
        assert len(np.unique(outputs[:, 0], axis=0)) > 4  # each row has its own
        kept = (outputs[:, 0] != 0).mean()
        # Four standard deviations of a share of 200.
        assert abs(kept - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 200)
        np.testing.assert_allclose(run(model, identity_layers(), ones)[0], 1, rtol=1e-6)


def test_one_layer_is_never_dropped_out():
    model, x = Recurrent(WIDTH, dropout=0.5), inputs()
    params = noisy_parameters(model)
    # Two programs; what is not dropped would be twice as large.
    trained, evaluated = run(model, params, x, train=True)[0], run(model, params, x)[0]
    np.testing.assert_allclose(trained, evaluated, rtol=1e-5, atol=1e-6)


def test_weight_drop_uses_one_thinned_recurrent_matrix_for_all_steps_and_rows():
    model, x = Recurrent(WIDTH, cell="rnn", weight_drop=0.4), inputs()
    params = noisy_parameters(model)
    # The gates are tanh of x K + h R + b: two steps give back what R was.
    carry = (jnp.eye(WIDTH),)
    outputs, _ = run(model, params, jnp.zeros((WIDTH, 2, FEATURES)), carry, train=True)
    own = params["layer_0"]
    thinned = np.arctanh(outputs[:, 0]) - own["bias"]
    dropped = np.abs(thinned) < 1e-3
    assert 0 < dropped.sum() < WIDTH**2
    expected = np.where(dropped, 0, own["recurrent_kernel"] / 0.6)
    np.testing.assert_allclose(thinned, expected, atol=1e-2)
    second = np.tanh(outputs[:, 0] @ expected + own["bias"])
    np.testing.assert_allclose(outputs[:, 1], second, atol=1e-4)
    plain = Recurrent(WIDTH, cell="rnn")
    evaluated, expected = run(model, params, x)[0], run(plain, params, x)[0]
    np.testing.assert_allclose(evaluated, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "mingru"])
def test_zoneout_keeps_states_at_its_rate_and_expects_that_in_evaluation(cell):
    many, rate = 2000, 0.3
    model = Recurrent(WIDTH, cell=cell, zoneout=rate)
    params = noisy_parameters(model)
    x = jnp.broadcast_to(inputs()[:1, :1], (many, 1, FEATURES))
    carry = jax.tree.map(lambda each: jnp.broadcast_to(each[:1], (many, WIDTH)), first_carry(model))
    drawn, _ = run(model, params, x, carry, train=True)
    new, _ = run(Recurrent(WIDTH, cell=cell), params, x, carry)
    old = np.asarray(jax.tree.leaves(carry)[0])
    kept = np.asarray(drawn[:, 0]) == old
    # Two programs may round the last places differently.
    np.testing.assert_allclose(drawn[:, 0], np.where(kept, old, new[:, 0]), rtol=1e-5, atol=1e-6)
    assert abs(kept.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / kept.size)
    expected = rate * old + (1 - rate) * np.asarray(new[:, 0])
    np.testing.assert_allclose(run(model, params, x, carry)[0][:, 0], expected, atol=1e-5)


# --- cuDNN --------------------------------------------------------------------------------------


@pytest.fixture
def stand_in_for_cudnn(monkeypatch):
    """JAX's reference of cuDNN's LSTM in its place: it reads the same vector of weights."""

    def lstm(x, h, c, weights, lengths, *static):
        features, width, layers, _, bidirectional = static
        parts = rnn.unpack_lstm_weights(weights, features, width, layers, bidirectional)
        assert weights.size == rnn.get_num_params_in_lstm(features, width, layers, bidirectional)
        return rnn.lstm_ref(x, h, c, *parts, lengths, *static)

    monkeypatch.setattr(recurrent_cudnn, "_lstm", lstm)
    monkeypatch.setattr(recurrent_cudnn, "check_at_hand", lambda: None)
    monkeypatch.setattr("dlresearch.models.recurrent.check_at_hand", lambda: None)


@pytest.mark.parametrize(
    "options",
    [{"layers": 2, "bidirectional": True}, {"layers": 2, "residual": True, "weight_drop": 0.3}],
    ids=str,
)
def test_cudnn_computes_what_the_scan_does_from_the_same_parameters(options, stand_in_for_cudnn):
    x, params = inputs(), noisy_parameters(Recurrent(WIDTH, **options))

    def outcome(backend):
        model = Recurrent(WIDTH, backend=backend, **options)

        def loss(params, carry):
            outputs, after = apply(model, params, x, carry, LENGTHS, train=True)
            return (outputs**2).sum() + sum((s**3).sum() for s in jax.tree.leaves(after)), outputs

        return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, first_carry(model))

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        outcome("cudnn"),
        outcome("scan"),
    )


def test_cudnn_gets_each_matrix_in_its_place():
    layers = [
        {
            "kernel": np.full((FEATURES, 4 * WIDTH), number + 0.1),
            "recurrent_kernel": np.full((WIDTH, 4 * WIDTH), number + 0.2),
            "bias": np.full(4 * WIDTH, number + 0.3),
        }
        for number in range(2)
    ]
    parts = rnn.unpack_lstm_weights(cudnn_weights(layers), FEATURES, WIDTH, 1, True)
    for number in range(2):
        inner, recurrent, bias, second = (part[number] for part in parts)
        np.testing.assert_allclose(inner, number + 0.1, rtol=1e-6)
        np.testing.assert_allclose(recurrent, number + 0.2, rtol=1e-6)
        np.testing.assert_allclose(bias, number + 0.3, rtol=1e-6)
        assert not np.any(second)


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="cuDNN is at hand")
def test_without_a_gpu_cudnn_is_refused_and_auto_is_the_scan():
    x = inputs()
    with pytest.raises(UserError, match=r"backend='cudnn': JAX computes on cpu.*'auto' or 'scan'"):
        Recurrent(WIDTH, backend="cudnn").init(jax.random.key(0), x, train=False)
    assert "rnn_fwd" not in str(jax.make_jaxpr(lambda: _outputs("auto", x))())


def _outputs(backend, x):
    model = Recurrent(WIDTH, backend=backend)
    return apply(model, noisy_parameters(model), x)


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs an NVIDIA GPU")
def test_on_a_gpu_cudnn_is_the_scan():
    x = inputs()
    with jax.default_matmul_precision("highest"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
            _outputs("cudnn", x),
            _outputs("scan", x),
        )


# --- the rest -----------------------------------------------------------------------------------


def test_flops_count_the_products_of_all_steps_and_directions():
    model, x = Recurrent(WIDTH, layers=2, bidirectional=True), inputs()
    params = noisy_parameters(model)
    forward = 2 * BATCH * STEPS * 4 * WIDTH * 2 * (FEATURES + WIDTH + 2 * WIDTH + WIDTH)

    def loss(params, x):
        return apply(model, params, x)[0].sum()

    assert count_flops(loss, params, x) == forward
    # Each product has two in the gradient.
    assert count_flops(jax.grad(loss, (0, 1)), params, x) == 3 * forward


def test_flops_of_cudnn_are_those_of_the_scan(monkeypatch):
    class Library:
        """What JAX asks cuDNN while it traces."""

        @staticmethod
        def compute_rnn_workspace_reserve_space_sizes(*_):
            return 0, 0

    monkeypatch.setattr(rnn, "gpu_rnn", Library)
    monkeypatch.setattr("dlresearch.models.recurrent.check_at_hand", lambda: None)

    def flops(backend):
        model, x = Recurrent(WIDTH, layers=2, bidirectional=True, backend=backend), inputs()

        def loss(params, x):
            return apply(model, params, x)[0].sum()

        return count_flops(jax.grad(loss, (0, 1)), noisy_parameters(model), x)

    assert flops("cudnn") == flops("scan")


def test_bfloat16_computes_gates_in_float32_and_returns_a_float32_carry():
    model = Recurrent(WIDTH, dtype=jnp.bfloat16)
    params, x = noisy_parameters(model), inputs()
    outputs, after = run(model, params, x)
    assert outputs.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(after))
    exact, _ = run(Recurrent(WIDTH), params, x)
    np.testing.assert_allclose(outputs.astype(np.float32), exact, atol=0.03)  # 8 bits


def test_parameters_begin_orthogonal_or_uniform_and_the_forget_gate_open():
    x = inputs()
    own = Recurrent(WIDTH).init(jax.random.key(0), x, train=False)["params"]["layer_0"]
    for matrix in np.split(np.asarray(own["recurrent_kernel"]), 4, axis=1):
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(WIDTH), atol=1e-5)
    np.testing.assert_array_equal(own["bias"], np.repeat([0, 1, 0, 0], WIDTH))
    small = Recurrent(WIDTH, initial_scale=0.05, forget_bias=0.0)
    leaves = jax.tree.leaves(small.init(jax.random.key(0), x, train=False))
    assert all(0.02 < np.abs(leaf).max() <= 0.05 for leaf in leaves)


@pytest.mark.parametrize("cell", CELLS)
def test_a_mesh_knows_how_to_split_every_parameter(cell):
    model = Recurrent(WIDTH, cell=cell, layers=2, bidirectional=True, layer_norm=True)
    mesh = abstract_mesh(4, 1, 2, 2)
    params = noisy_parameters(model)
    shardings = parameter_shardings(params, mesh, (), min_size=1)
    assert not any(leaf.is_fully_replicated for leaf in jax.tree.leaves(shardings))
    assert shardings["layer_1"]["kernel"].spec == PartitionSpec("fsdp", "tensor")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "lstn"}, "cell='lstn': must be one of lstm, gru, rnn, mingru, minlstm"),
        ({"backend": "cuda"}, "backend='cuda': must be one of auto, scan, cudnn"),
        ({"width": 0}, "width=0: must be at least 1"),
        ({"layers": 0}, "layers=0: must be at least 1"),
        ({"unroll": 0}, "unroll=0: must be at least 1"),
        ({"dropout": 1.0}, r"dropout=1.0 is not in \[0, 1\)"),
        ({"zoneout": -0.1}, r"zoneout=-0.1 is not in \[0, 1\)"),
        ({"cell": "mingru", "weight_drop": 0.5}, "weight_drop=0.5: mingru has no recurrent matrix"),
        ({"backend": "cudnn", "cell": "gru"}, "backend='cudnn' with cell='gru': .*'scan'"),
        ({"backend": "cudnn", "zoneout": 0.1}, "backend='cudnn' with zoneout=0.1"),
        ({"backend": "cudnn", "layer_norm": True}, "backend='cudnn' with layer_norm=True"),
        ({"backend": "cudnn", "dtype": "bfloat16"}, "backend='cudnn' with dtype=bfloat16"),
        ({"initial_scale": 0.0}, "initial_scale=0.0: must be positive"),
    ],
)
def test_a_wrong_setting_is_one_line(options, message):
    with pytest.raises(UserError, match=message) as error:
        Recurrent(**{"width": WIDTH, **options})
    assert "\n" not in str(error.value)


def test_a_carry_of_another_model_is_refused():
    model, x = Recurrent(WIDTH), inputs()
    with pytest.raises(ValueError, match="carry of shapes"):
        run(model, noisy_parameters(model), x, (jnp.zeros((BATCH, WIDTH)),))
