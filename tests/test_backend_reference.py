"""Every backend computes what the reference in keras.ops does, gradients included."""

from __future__ import annotations

import ast
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from keras_multvae import backend
from keras_multvae.backend import contract
from keras_multvae.backend.reference import embeddings as reference_embeddings
from keras_multvae.backend.reference import ops as reference

FOLDER = Path(contract.__file__).parent
USERS, ITEMS, UNITS = 4, 9, 3
RNG = np.random.default_rng(7)
# The third user has no entries; the last one has two entries of padding.
SIZES = np.array([3, 2, 0, 4], "int32")
IDS = np.array([1, 5, 8, 0, 5, 2, 7, 0, 0], "int32")
VALUES = np.array([1, 2, 1, 1, 3, 1, 1, 0, 0], "float32")
SEGMENTS = np.array([0, 0, 0, 1, 1, 3, 3, 3, 3], "int32")
LOGITS = RNG.normal(size=(USERS, ITEMS)).astype("float32")
KERNEL = RNG.normal(size=(ITEMS, UNITS)).astype("float32")
HIDDEN = RNG.normal(size=(USERS, UNITS)).astype("float32")
RATES = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}


def tensors(*arrays):
    return [ops.convert_to_tensor(array) for array in arrays]


def numpy(value):
    return ops.convert_to_numpy(value)


def gradients(function, *arrays):
    """The gradients of a scalar function of float arrays, by the active backend."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(function, argnums=tuple(range(len(arrays))))(*tensors(*arrays))
    if keras.backend.backend() == "torch":
        leaves = [each.clone().requires_grad_() for each in tensors(*arrays)]
        function(*leaves).backward()
        return [leaf.grad for leaf in leaves]
    import tensorflow as tf

    leaves = tensors(*arrays)
    with tf.GradientTape() as tape:
        tape.watch(leaves)
        total = function(*leaves)
    return tape.gradient(total, leaves)


def assert_alike(name, differentiable, *constants, module=reference, active=backend):
    """Values and gradients of `name` agree with those of the reference."""

    def call(source, *arrays):
        return getattr(source, name)(*arrange(arrays, tensors(*constants)))

    def arrange(arrays, others):
        return [*arrays, *others] if differentiable.first else [*others, *arrays]

    found = call(active, *tensors(*differentiable.arrays))
    expected = call(module, *tensors(*differentiable.arrays))
    np.testing.assert_allclose(numpy(found), numpy(expected), rtol=1e-5, atol=1e-5)
    weights = np.linspace(0.5, 1.5, numpy(expected).size).astype("float32")
    weights = ops.reshape(ops.convert_to_tensor(weights), numpy(expected).shape)

    def loss(source):
        return lambda *arrays: ops.sum(weights * call(source, *arrays))

    for one, other in zip(
        gradients(loss(active), *differentiable.arrays),
        gradients(loss(module), *differentiable.arrays),
        strict=True,
    ):
        np.testing.assert_allclose(numpy(one), numpy(other), rtol=1e-4, atol=1e-5)


class First:
    """Differentiable arguments that come before the others."""

    first = True

    def __init__(self, *arrays):
        self.arrays = arrays


class Last(First):
    """Differentiable arguments that come after the others."""

    first = False


def test_sparse_dense_matmul():
    assert_alike("sparse_dense_matmul", Last(KERNEL), SIZES, SEGMENTS, IDS, VALUES)


def test_affine():
    assert_alike(
        "affine", First(HIDDEN, RNG.random((3, 5), "float32"), np.ones(5, "float32"))
    )


def test_gather_nd():
    assert_alike("gather_nd", First(LOGITS), SEGMENTS, IDS)


def test_multinomial_nll():
    assert_alike("multinomial_nll", First(LOGITS), SEGMENTS, IDS, VALUES)


def test_entry_products():
    assert_alike(
        "entry_products",
        First(HIDDEN, KERNEL),
        SIZES,
        SEGMENTS,
        IDS,
        module=reference_embeddings,
    )


def test_segment_ids():
    found = backend.segment_ids(*tensors(SIZES, IDS))
    np.testing.assert_array_equal(numpy(found), SEGMENTS)
    expected = reference.segment_ids(*tensors(SIZES, IDS))
    np.testing.assert_array_equal(numpy(expected), SEGMENTS)


def test_segment_sum():
    values, segments = tensors(VALUES, SEGMENTS)
    for source in (backend, reference):
        found = source.segment_sum(values, segments, USERS)
        np.testing.assert_array_equal(numpy(found), [4, 4, 0, 2])


def test_to_dense_adds_up_entries_of_one_place():
    segments, ids, values = tensors(SEGMENTS, IDS, VALUES)
    ids = ops.where(ids == 8, 5, ids)
    found = backend.to_dense(segments, ids, values, (USERS, ITEMS))
    expected = reference.to_dense(segments, ids, values, (USERS, ITEMS))
    np.testing.assert_array_equal(numpy(found), numpy(expected))
    assert numpy(found)[0, 5] == 3


def test_add_item_weights():
    lengths = np.array([2, 0, 1, 0, 0, 9, 0, 3, 0], "int32")
    columns = np.array([3, 4, 0, *range(9), 1, 2, 8], "int32")
    weights = np.arange(1, 16, dtype="float32")
    arguments = tensors(LOGITS, SEGMENTS, IDS, VALUES, lengths, columns, weights)
    np.testing.assert_allclose(
        numpy(backend.add_item_weights(*arguments)),
        numpy(reference.add_item_weights(*arguments)),
        rtol=1e-5,
    )


@pytest.mark.parametrize("shift", [0, 80, -200], ids=["0", "80", "-200"])
def test_log_sum_exp_neither_overflows_nor_loses_digits(shift):
    (logits,) = tensors(LOGITS + np.float32(shift))
    np.testing.assert_allclose(
        numpy(backend.log_sum_exp(logits)),
        numpy(reference.log_sum_exp(logits)),
        rtol=1e-6,
    )


def test_log_sum_exp_of_16_bits_is_computed_in_32():
    (logits,) = (ops.cast(each, "bfloat16") for each in tensors(LOGITS))
    found = numpy(backend.log_sum_exp(logits))
    wide = numpy(ops.cast(logits, "float32")).astype("float64")
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, np.log(np.exp(wide).sum(1)), rtol=1e-6)


@pytest.mark.parametrize("k", [1, 3, 9])
def test_top_k_prefers_the_lower_index_among_equals(k):
    scores = np.round(LOGITS * 2) / 2
    scores[1], scores[2, ::2] = -0.0, 0.0
    (scores,) = tensors(scores.astype("float32"))
    for found, expected in zip(
        backend.top_k(scores, k), reference.top_k(scores, k), strict=True
    ):
        np.testing.assert_array_equal(numpy(found), numpy(expected))


def test_unique_ids_give_back_every_entry():
    (ids,) = tensors(IDS)
    for source in (backend, reference_embeddings):
        unique, places = map(numpy, source.unique_ids(ids))
        np.testing.assert_array_equal(unique[places], IDS)
        known = unique[unique < ITEMS]
        assert sorted(known) == sorted(set(IDS.tolist()))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_embedding_lookup_gives_float32_rows(dtype):
    variable = keras.Variable(KERNEL, dtype=dtype)
    (ids,) = tensors(np.array([5, 0, 8], "int32"))
    found = backend.embedding_lookup(variable, ids, sparse=False)
    expected = reference_embeddings.embedding_lookup(variable, ids, sparse=False)
    np.testing.assert_array_equal(numpy(found), numpy(expected))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"


def moments():
    """A variable, and both moments of Adam after some steps."""
    return [
        keras.Variable(array) for array in (KERNEL, KERNEL / 10, np.square(KERNEL) / 10)
    ]


def of_optimizer(variable):
    """A variable as Keras' optimisers hand it over: on TensorFlow its own."""
    return variable.value if keras.backend.backend() == "tensorflow" else variable


def assert_same_variables(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(numpy(one), numpy(other), rtol=1e-5, atol=1e-7)


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="JAX fuses Keras' own formula"
)
def test_adam_update():
    gradient, step, rate = tensors(KERNEL[::-1].copy(), 3, np.float32(0.01))
    found, expected = moments(), moments()
    variable, *of_adam = found
    backend.adam_update(
        of_optimizer(variable), *of_adam, gradient, step, learning_rate=rate, **RATES
    )
    reference.adam_update(*expected, gradient, step, learning_rate=rate, **RATES)
    assert_same_variables(found, expected)
    assert not np.allclose(numpy(variable), KERNEL)


def test_sparse_adam_update_leaves_other_rows_alone():
    # int64, as PyTorch's sparse gradients have them.
    ids, gradient = tensors(np.array([7, 2], "int64"), KERNEL[:2])
    step, seed, rate = tensors(3, 5, np.float32(0.01))
    found, expected = moments(), moments()
    variable, *of_adam = found
    given = {"learning_rate": rate, **RATES}
    backend.sparse_adam_update(
        of_optimizer(variable), *of_adam, ids, gradient, step, seed, **given
    )
    reference_embeddings.sparse_adam_update(
        *expected, ids, gradient, step, seed, **given
    )
    assert_same_variables(found, expected)
    changed = np.flatnonzero((numpy(variable) != KERNEL).any(axis=1))
    assert changed.tolist() == [2, 7]


@pytest.mark.parametrize(
    "source", [backend, reference_embeddings], ids=["active", "reference"]
)
def test_round_at_random_keeps_the_mean_and_goes_to_a_neighbour(source):
    rows = np.array([1.001, -3.003, 1e-20, 0.0, 2.0], "float32")
    values = np.tile(rows, (4000, 1))
    found = numpy(source.round_at_random(*tensors(values), ops.convert_to_tensor(3)))
    found = found.astype("float64")
    for number, value in enumerate(rows.astype("float64")):
        drawn = np.unique(found[:, number])
        assert len(drawn) <= 2 and drawn.min() <= value <= drawn.max()
        assert np.ptp(drawn) <= abs(value) * 2.0**-6
        error = found[:, number].std() / np.sqrt(len(found))
        assert abs(found[:, number].mean() - value) <= 5 * error + 1e-30


@pytest.mark.parametrize("condition", [True, False])
def test_assign_if_assigns_where_the_condition_holds(condition):
    for source in (backend, reference):
        variable = keras.Variable(np.zeros(2, "float32"))
        ones = ops.ones(2)
        source.assign_if(
            ops.convert_to_tensor(condition), [variable], lambda o=ones: [o]
        )
        assert numpy(variable).tolist() == [float(numpy(condition))] * 2


@pytest.mark.parametrize("name", ["normal", "dropout"])
def test_random_numbers_have_the_moments_of_the_reference(name):
    from keras_multvae.layers.seeded import Seeds

    values = ops.ones((2000, 3))
    first = {"normal": ((2000, 3),), "dropout": (values, 0.25)}[name]
    for source in (backend, reference):
        found = numpy(getattr(source, name)(*first, Seeds(3)))
        assert abs(found.mean() - (name == "dropout")) < 0.05
        assert abs(found.std() - {"normal": 1, "dropout": 3**-0.5}[name]) < 0.05


def test_compiled_inference_gives_numpy_arrays_of_the_current_weights():
    variable = keras.Variable(np.ones(2, "float32"))
    for source in (backend, reference):
        variable.assign(np.ones(2))
        run = source.compile_inference(lambda x: (x * variable, x + 1), [variable])
        assert run(ops.convert_to_tensor([1.0, 2.0]))[0].tolist() == [1, 2]
        variable.assign([2, 3])
        product, total = run(ops.convert_to_tensor([1.0, 2.0]))
        assert isinstance(product, np.ndarray)
        assert product.tolist() == [2, 6] and total.tolist() == [2, 3]


def functions_of(path):
    """The arguments of a module's functions by name; None for other names."""
    found = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            arguments = [each.arg for each in node.args.args]
            found[node.name] = None if node.args.kwarg else arguments
        elif isinstance(node, ast.ImportFrom):
            found.update((each.asname or each.name, None) for each in node.names)
        elif isinstance(node, ast.Assign):
            targets = [n for each in node.targets for n in ast.walk(each)]
            found.update((n.id, None) for n in targets if isinstance(n, ast.Name))
    return found


@pytest.mark.once
@pytest.mark.parametrize("name", ["jax", "tensorflow", "torch", "reference"])
@pytest.mark.parametrize(
    ("protocol", "module"),
    [("Operations", "ops.py"), ("EmbeddingOperations", "embeddings.py")],
)
def test_every_backend_has_the_functions_of_the_contract(name, protocol, module):
    tree = ast.parse((FOLDER / "contract.py").read_text())
    (described,) = (
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == protocol
    )
    found = functions_of(FOLDER / name / module)
    # JAX fuses Keras' own Adam, and changes nothing in place.
    missing = {"adam_update", "run_if"} if name == "jax" else set()
    for node in described.body:
        if not isinstance(node, ast.FunctionDef) or node.name in missing:
            continue
        arguments = [each.arg for each in node.args.args][1:]
        assert node.name in found, f"{name}/{module} lacks {node.name}"
        assert found[node.name] in (None, arguments), (name, node.name)
