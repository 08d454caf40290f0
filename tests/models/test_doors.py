"""What users give to a model, in every form, and what is refused untouched."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from conftest import make_clicks
from scipy import sparse

from keras_multvae import (
    EASE,
    MultDAE,
    MultinomialNLL,
    MultVAE,
    Popularity,
    SampledSoftmax,
)
from keras_multvae.data import FoldIn, Interactions, UserBatches
from keras_multvae.layers import (
    CandidateSampler,
    InteractionEncoder,
    ItemDecoder,
    PointEncoder,
    Sampling,
    EmbeddingDecoder,
)

ITEMS = 12
CLICKS = make_clicks(40, ITEMS)
TARGETS = make_clicks(40, ITEMS, seed=4)
FORMATS = ["bsr", "coo", "csc", "csr", "dia", "dok", "lil"]


def with_repeats(matrix):
    """The same matrix, its entries in two halves, in no order, and some zeros."""
    coo = matrix.tocoo()
    rows, columns = np.tile(coo.row, 2), np.tile(coo.col, 2)
    values = np.repeat(np.stack([0.25, 0.75]), coo.nnz).astype("float32")
    zeros = np.arange(5)
    order = np.random.default_rng(0).permutation(len(rows) + 5)
    rows, columns = np.append(rows, zeros)[order], np.append(columns, zeros)[order]
    values = np.append(values, np.zeros(5, "float32"))[order]
    by_row = np.argsort(rows, kind="stable")
    indptr = np.append(0, np.cumsum(np.bincount(rows, minlength=matrix.shape[0])))
    return sparse.csr_matrix(
        (values[by_row], columns[by_row], indptr), shape=matrix.shape
    )


def forms(matrix=CLICKS):
    """The same clicks in every form that a door takes."""
    found = {name: matrix.asformat(name) for name in FORMATS}
    found["csr_array"] = sparse.csr_array(matrix)
    found["coo_array of bools"] = sparse.coo_array(matrix.astype(bool))
    found["repeats and zeros"] = with_repeats(matrix)
    found["dense"] = matrix.toarray()
    found["dense ints"] = matrix.toarray().astype("int64")
    found["Interactions"] = Interactions.from_matrix(matrix)
    return found


FORMS = sorted(forms())


@pytest.fixture(scope="module")
def model():
    made = MultVAE(ITEMS, latent_dim=3, hidden_dims=(6,), seed=1)
    made.compile()
    return made


@pytest.fixture(scope="module")
def expected(model):
    batches = UserBatches(CLICKS, 20, targets=TARGETS)
    return {
        "score": model.score(CLICKS),
        "embed": model.embed(CLICKS),
        "query_vectors": model.query_vectors(CLICKS),
        "predict": model.predict(batches, verbose=0),
        "evaluate": model.evaluate(batches, verbose=0, return_dict=True),
    }


@pytest.mark.parametrize("form", FORMS)
def test_every_form_means_the_same_at_every_door(form, model, expected):
    clicks = forms()[form]
    targets = forms(TARGETS)[form]
    np.testing.assert_array_equal(model.score(clicks), expected["score"])
    for found, wanted in zip(model.embed(clicks), expected["embed"], strict=True):
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(
        model.query_vectors(clicks), expected["query_vectors"]
    )
    predicted = model.predict(clicks, batch_size=20, verbose=0)
    np.testing.assert_allclose(predicted, expected["predict"], atol=1e-6)
    measured = model.evaluate(
        clicks, targets, batch_size=20, verbose=0, return_dict=True
    )
    assert measured == pytest.approx(expected["evaluate"], rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_trained_on(form):
    model = MultDAE(ITEMS, 3, seed=1)
    model.compile()
    history = model.fit(
        forms()[form],
        batch_size=20,
        validation_data=(forms()[form], forms(TARGETS)[form]),
        verbose=0,
    )
    assert {"loss", "val_ndcg_at_100"} <= set(history.history)
    assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) == 2


def test_a_fold_in_brings_its_targets(model, expected):
    fold_in = FoldIn(*map(Interactions.from_matrix, (CLICKS, TARGETS)))
    np.testing.assert_array_equal(model.score(fold_in), expected["score"])
    measured = model.evaluate(fold_in, batch_size=20, verbose=0, return_dict=True)
    assert measured == pytest.approx(expected["evaluate"], rel=1e-5)
    other = MultDAE(ITEMS, 3, seed=1)
    other.compile()
    history = other.fit(fold_in, validation_data=fold_in, verbose=0).history
    assert "val_ndcg_at_100" in history
    with pytest.raises(ValueError, match="A FoldIn brings its targets"):
        other.fit(fold_in, TARGETS)


def test_a_matrix_trains_as_its_batches_do():
    models = [MultDAE(ITEMS, 3, seed=1) for _ in range(2)]
    for each in models:
        each.compile()
    models[0].fit(CLICKS, batch_size=10, shuffle=False, verbose=0)
    models[1].fit(UserBatches(CLICKS, 10, shuffle=False), verbose=0)
    np.testing.assert_array_equal(*(each.score(CLICKS) for each in models))


def test_what_is_given_is_left_as_it_was(model):
    given = with_repeats(CLICKS)
    before = [part.copy() for part in (given.data, given.indices, given.indptr)]
    model.score(given)
    UserBatches(given)
    for part, old in zip(
        (given.data, given.indices, given.indptr), before, strict=True
    ):
        np.testing.assert_array_equal(part, old)


def refusals():
    """Arguments of `fit` that are refused, and what is said."""
    dense = CLICKS.toarray()
    batches = UserBatches(CLICKS, 10)
    return {
        "class weights": ((dense,), {"class_weight": {0: 1.0}}, "`class_weight` means"),
        "other items": ((make_clicks(5, 9),), {}, "rows of 12 items"),
        "other dense items": ((np.ones((5, 9)),), {}, "rows of 12 items"),
        "other items to validate on": (
            (batches,),
            {"validation_data": make_clicks(5, 9)},
            "rows of 12 items",
        ),
        "a list": (([[1.0] * ITEMS],), {}, "Received: list"),
        "negative": ((-CLICKS,), {}, "finite and >= 0; found -1"),
        "negative dense": ((-dense,), {}, "finite and >= 0; found -1"),
        "text": ((dense.astype(str),), {}, "of numbers. Received: ndarray of <U"),
        "the input as targets": ((CLICKS, CLICKS), {}, "are the input itself"),
        "dense input as targets": ((dense, dense), {}, "are the input itself"),
        "no targets": ((CLICKS, 0 * CLICKS), {}, "hold no entry"),
        "a part of a matrix": (
            (CLICKS,),
            {"validation_split": 0.1},
            "`validation_split` cuts",
        ),
    }


@pytest.mark.parametrize("kind", refusals())
def test_what_is_refused_leaves_the_model_as_it_was(kind):
    args, kwargs, text = refusals()[kind]
    model = MultDAE(ITEMS, 3, seed=1)
    model.compile()
    model.fit(UserBatches(CLICKS, 20), verbose=0)
    before = model.score(CLICKS), model.optimizer.iterations.numpy()
    with pytest.raises((TypeError, ValueError), match=text):
        model.fit(*args, **kwargs, verbose=0)
    np.testing.assert_array_equal(model.score(CLICKS), before[0])
    assert model.optimizer.iterations.numpy() == before[1]
    model.fit(UserBatches(CLICKS, 20), verbose=0)
    assert model.optimizer.iterations.numpy() == before[1] + 2


def test_a_step_that_fails_leaves_the_model_as_it_was():
    """What only the step finds out; on JAX Keras would lose all weights."""
    model = MultDAE(ITEMS, 3, seed=1)
    model.compile()
    before = model.score(CLICKS)

    def wrong():
        yield (np.ones((4, 9), "float32"),)

    for door, options in (
        (model.fit, {"steps_per_epoch": 1, "shuffle": False}),
        (model.evaluate, {"steps": 1}),
        (model.predict, {"steps": 1}),
    ):
        with pytest.raises(Exception, match="12 items"):
            door(wrong(), **options, verbose=0)
        np.testing.assert_array_equal(model.score(CLICKS), before)
    model.fit(UserBatches(CLICKS, 20), verbose=0)


def test_a_refused_call_teaches_a_sampler_nothing():
    model = MultVAE(ITEMS, 3, (6,), head=SampledSoftmax(4, "popularity"), seed=0)
    model.compile()
    before = [each.numpy() for each in model.candidates.weights]
    with pytest.raises(ValueError, match="rows of 12 items"):
        model.fit(CLICKS, validation_data=make_clicks(5, 9), verbose=0)
    for old, new in zip(before, model.candidates.weights, strict=True):
        np.testing.assert_array_equal(old, new.numpy())
    model.fit(CLICKS.toarray(), verbose=0)  # becomes batches, which it needs


def test_the_logistic_likelihood_takes_no_counts():
    counts = 3 * CLICKS
    model = MultDAE(ITEMS, 3, likelihood="logistic", seed=1)
    model.compile()
    for given in (counts, counts.toarray(), UserBatches(counts)):
        with pytest.raises(ValueError, match="LogisticNLL takes 0 and 1 alone"):
            model.fit(given, verbose=0)
        with pytest.raises(ValueError, match="LogisticNLL takes 0 and 1 alone"):
            model.fit(CLICKS, validation_data=given, verbose=0)
        model.predict(given, verbose=0)
    # What is to be predicted counts, not what it is predicted from.
    model.fit(UserBatches(counts, targets=TARGETS), verbose=0)
    with pytest.raises(ValueError, match="LogisticNLL takes 0 and 1 alone"):
        model.fit(UserBatches(CLICKS, targets=counts), verbose=0)


def test_scores_take_numbers_of_numpy_and_refuse_others(model):
    np.testing.assert_array_equal(
        model.score(CLICKS, batch_size=np.int64(7)), model.score(CLICKS, batch_size=7)
    )
    with pytest.raises(ValueError, match="`batch_size` must be an integer >= 1"):
        model.score(CLICKS, batch_size=0)
    for given, text in (
        ([[1, 2]], "`histories` must be Interactions.* Received: list"),
        (np.ones(ITEMS), "one row a user"),
        (sparse.csr_matrix(([1.0], [99], [0, 1]), shape=(1, ITEMS)), r"in 0\.\.11"),
        (CLICKS.astype(complex), "of numbers. Received: csr_matrix of complex"),
    ):
        with pytest.raises((TypeError, ValueError), match=text):
            model.score(given)


def test_a_model_that_could_not_be_loaded_is_told_before_the_training():
    class Mine(MultDAE):
        pass

    class Own(MultinomialNLL):
        pass

    for model, text in (
        (Mine(ITEMS, 3), r"Recommender\.save: .*Mine is not a registered model"),
        (MultDAE(ITEMS, 3, likelihood=Own()), "Own is not registered with Keras"),
    ):
        model.compile()
        with pytest.warns(UserWarning, match=text):
            model.fit(UserBatches(CLICKS, 20), verbose=0)


@pytest.mark.parametrize("form", FORMS)
def test_baselines_take_every_form_too(form):
    for make in (lambda: EASE(ITEMS, 5.0), lambda: Popularity(ITEMS)):
        expected = make().fit(CLICKS)
        found = make().fit(forms()[form])
        np.testing.assert_allclose(
            found.score(forms()[form]), expected.score(CLICKS), atol=1e-6
        )
    with pytest.raises(ValueError, match="`num_items` must be an integer >= 1"):
        Popularity(12.5)


def test_layers_take_integers_of_numpy():
    sizes = (np.int64(12), np.int64(3), (np.int32(6),))
    for layer in (
        InteractionEncoder(*sizes, np.float32(0.5), seed=np.int8(3)),
        PointEncoder(*sizes, seed=np.int64(3)),
        ItemDecoder(*sizes, seed=np.int64(3)),
        EmbeddingDecoder(*sizes, seed=np.int64(3)),
        CandidateSampler(np.int64(12), np.int64(4), seed=np.int64(3)),
        Sampling(seed=np.int64(3)),
    ):
        config = layer.get_config()
        json.dumps({name: config[name] for name in config if name != "dtype"})
        assert type(layer).from_config(config).seed == 3
    with pytest.raises(ValueError, match="`latent_dim` must be an integer >= 1"):
        InteractionEncoder(12, 0)
