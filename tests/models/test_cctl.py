"""CCTL: companion towers, the reward and what learns from it, alignment, and the enhancement of representations."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import InputError, SchemaError
from cdrzoo.models import CCTL
from cdrzoo.optimizers import Adam, slots
from cdrzoo.schema import Schema
from tests.models import oracle
from tests.models.toys import three_schema, toy_dataset, toy_rows, toy_schema, twin_schema

ROWS = {"books": 12, "music": 7, "films": 8}
PURE = "pure/"


def make(schema=None, optimizer=None, seed=1, **arguments):
    """A small CCTL; its training step is called directly, which saves the tracing."""
    keras.utils.set_random_seed(seed)
    arguments = {"units": (8, 6), "pooling": "mean", "selector_units": (5,), "sync_every": 100, **arguments}
    model = CCTL(schema or toy_schema(), **arguments)
    model.compile(optimizer or Adam(0.01))
    return model


def rows(model, seed=0, **changes):
    return toy_rows(model.schema, {**{d.name: ROWS[d.name] for d in model.schema.domains}, **changes}, seed)


def step(model, batch):
    """The logs of one step alone."""
    model.reset_metrics()
    return {name: float(value) for name, value in model.train_step(batch).items()}


def values(variables):
    return [oracle.array(v) for v in variables]


def equal(one, two):
    return all((a == b).all() for a, b in zip(values(one), values(two), strict=True))


def state(model):
    optimizers = (model.optimizer, model.selector_optimizer)
    return [*model.variables, *(v for optimizer in optimizers for v in optimizer.variables)]


def score_gradients(model, x):
    """g_k = grad of sum over sources of mean_i log p_i, and p, worked out beside the model."""
    with tf.GradientTape() as tape:
        p = {s: model.selector(tf.stop_gradient(v)) for s, v in model.aligned(x, training=True).items()}
        log_score = sum(tf.reduce_mean(tf.math.log(each)) for each in p.values())
    return [
        oracle.array(g)
        for g in tape.gradient(log_score, [v.value for v in model.selector.trainable_variables])
    ]


# The forward pass and the losses, in NumPy ----------------------------------------------------------------------------


def tower(layer, tables, x, training):
    f = oracle.fields(layer.fields, tables, x, training)
    # user token (histories are the user's), item token, context token
    return np.concatenate(
        [f[n] for n in ("user", "age", "history_films", "history_books", "item", "genre", "device")], -1
    )


def read(layer, vector):
    return oracle.dense(layer.head, oracle.mlp(layer.mlp, vector))


def aligned(model, x, training):
    san = model.san["books"]
    # A table of the source's own comes before the mixed tower's of that name.
    tables = {**oracle.tables(model.mixed.embedding), **oracle.tables(san.embedding)}
    f = oracle.fields(san.fields, tables, x, training)
    tokens = {
        "user": np.concatenate([f["user"], f["history_books"], f["history_films"]], -1),
        "item": np.concatenate([f["item"], f["genre"], f["words"], f["price"]], -1),
    }

    def mapped(token):
        first, second = san.maps[token].layers
        return oracle.dense(second, np.maximum(oracle.dense(first, tokens[token]), 0))

    return np.concatenate(
        [mapped("user"), mapped("item"), np.zeros((len(f["user"]), 4))], -1
    )  # books have no context


def selector(model, vector):
    *hidden, last = model.selector.network.layers
    for layer in hidden:
        vector = np.maximum(oracle.dense(layer, vector), 0)
    return oracle.sigmoid(oracle.dense(last, vector))[:, 0]


def cosine(one, two):
    return (one * two).sum(-1) / (np.linalg.norm(one, axis=-1) * np.linalg.norm(two, axis=-1))


def enhancement(model, x, given):
    """L_ren of a first step whose rows have the weights `given`."""
    source, target = oracle.tables(model.san["books"].embedding), oracle.tables(model.mixed.embedding)
    both = set.intersection(*({int(u) for u in x[d]["user"].numpy()[given[d] > 0]} for d in x)) - {0, 1}
    users, sequences = [], []  # (cosine, weight)
    for domain in ("films", "books"):
        ids = {k: oracle.array(v) for k, v in x[domain].items()}
        for user, books, films, weight in zip(
            ids["user"], ids["books_seen"], ids["films_seen"], given[domain]
        ):
            if user in both:
                users.append((cosine(source["user"][user], target["user"][user]), weight))
            if books.any() and films.any():
                one, two = (
                    source["book"][books[books != 0]].mean(0),
                    target["film"][films[films != 0]].mean(0),
                )
                sequences.append((cosine(one, two), weight))
    assert len(users) > 1
    mean = lambda pairs: np.average([c for c, _ in pairs], weights=[w for _, w in pairs])  # noqa: E731
    return mean(users) - mean(sequences)


def ren_loss(model, x):
    """L_ren of rows, every one of weight 1, that are the first that a model sees."""
    ones = {name: tf.ones(len(rows["user"])) for name, rows in x.items()}
    model.ren.observe(x, ones)
    return enhance(model, x, ones)


def enhance(model, x, weights):
    sources = {s: san.embedding for s, san in model.san.items()}
    return model.ren(x, weights, sources, model.mixed.embedding)[0]


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_forward_and_losses_equal_the_numpy_version(pooling):
    model = make(pooling=pooling, optimizer=Adam(0.0), ren_weight=0.7)
    oracle.randomise(model)
    x, y = rows(model)
    labels = {k: oracle.array(v) for k, v in y.items()}

    def logits(training):
        mixed = tower(model.mixed, oracle.tables(model.mixed.embedding), x["films"], training)
        pure = tower(model.pure, oracle.tables(model.pure.embedding), x["films"], training)
        source = aligned(model, x["books"], training)
        return read(model.mixed, mixed), read(model.pure, pure), read(model.mixed, source), source

    mixed, pure, source, vector = logits(training=False)
    scores = model(x)
    np.testing.assert_allclose(scores["films"], oracle.sigmoid(mixed), atol=2e-6)
    np.testing.assert_allclose(scores["books"], oracle.sigmoid(source), atol=2e-6)
    np.testing.assert_allclose(model.serve(x["films"]), oracle.sigmoid(pure)[:, 0], atol=2e-6)
    np.testing.assert_allclose(model.selector_weights(x)["books"], selector(model, vector), atol=2e-6)

    mixed, pure, source, vector = logits(training=True)
    p, given = selector(model, vector), {"books": np.linspace(0, 2, 12), "films": np.linspace(1, 0, 8)}
    expected = {
        "books_loss": np.mean(given["books"] * p * oracle.cross_entropy(labels["books"], source)[:, 0]),
        "films_loss": np.mean(given["films"] * oracle.cross_entropy(labels["films"], mixed)[:, 0]),
        "pure_loss": np.mean(given["films"] * oracle.cross_entropy(labels["films"], pure)[:, 0]),
        "ren_loss": enhancement(model, x, given),
        "selector": np.average(p, weights=given["books"]),
    }
    expected["reward"] = expected["pure_loss"] - expected["films_loss"]
    expected["loss"] = expected["books_loss"] + expected["films_loss"] + 0.7 * expected["ren_loss"]
    logs = step(model, (x, y, {k: tf.constant(v, "float32") for k, v in given.items()}))
    assert set(logs) == set(expected)
    for name, value in expected.items():
        assert logs[name] == pytest.approx(value, abs=5e-6), name


# Companion towers ---------------------------------------------------------------------------------------------------


def test_towers_start_alike_and_share_no_variable():
    model = make()
    assert equal(model.mixed.variables, model.pure.variables)
    assert not {id(v) for v in model.mixed.variables} & {id(v) for v in model.pure.variables}
    x, y = rows(model)
    assert step(model, (x, y))["reward"] == 0


@pytest.mark.slow
def test_the_pure_tower_does_not_see_the_source():
    x, y = rows(make())
    other, other_y = rows(make(), seed=5)
    results = []
    for books, labels, bias in ((x, y, 0.0), (other, other_y, 0.0), (x, y, -1e4)):
        model = make(optimizer=Adam(0.01, clipnorm=1.0), ren_weight=0.0)
        model.selector.network.layers[-1].bias.assign([bias])
        for _ in range(2):
            model.train_step(({**x, "books": books["books"]}, {**y, "books": labels["books"]}))
        moments = [slot for v in model.pure.trainable_variables for slot in slots(model.optimizer, v)]
        results.append((model.pure.variables, moments, model.mixed.variables))
    for pure, moments, mixed in results[1:]:
        assert equal(pure, results[0][0])
        assert equal(moments, results[0][1])
        assert not equal(mixed, results[0][2])


@pytest.mark.exhaustive
@pytest.mark.parametrize(("dropout", "ren_weight"), [(0.0, 0.0), (0.5, 0.0), (0.0, 1.0)])
def test_without_the_source_the_towers_stay_one_for_ever(dropout, ren_weight):
    """With REN, too: what it does to the target's tables is no part of the reward."""
    model = make(ren_weight=ren_weight, sync_every=3, dropout=dropout, selector_mode="closed")  # p = 0
    for k in range(7):
        logs = step(model, rows(model, seed=k))
        assert (
            logs["reward"] == pytest.approx(0, abs=1e-7) and logs["selector"] == 0 and logs["books_loss"] == 0
        )
        assert (logs["ren_loss"] != 0) == bool(ren_weight)
        for one, two in zip(values(model.mixed.weights), values(model.pure.weights), strict=True):
            np.testing.assert_allclose(one, two, atol=1e-6 if ren_weight else 0)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: Adam(0.01),
        lambda: keras.optimizers.Adam(0.01, amsgrad=True),
        lambda: keras.optimizers.SGD(0.01, momentum=0.9),
        lambda: keras.optimizers.LossScaleOptimizer(Adam(0.01)),
    ],
    ids=["cdrzoo Adam", "Keras Adam", "Keras SGD", "loss scale"],
)
def test_synchronisation_copies_weights_and_moments(optimizer):
    model = make(optimizer=optimizer(), sync_every=2, dropout=0.3)

    def moments(layer):
        return [slot for v in layer.trainable_variables for slot in slots(model.optimizer, v)]

    model.train_step(rows(model, 0))
    assert not equal(model.mixed.weights, model.pure.weights)
    assert not equal(moments(model.mixed), moments(model.pure))
    model.train_step(rows(model, 1))
    assert len(moments(model.mixed)) >= len(model.mixed.trainable_variables)
    assert equal(model.mixed.weights, model.pure.weights)
    assert equal(moments(model.mixed), moments(model.pure))
    assert step(model, rows(model, 2))["reward"] == 0  # the towers even drop the same units
    assert step(model, rows(model, 3))["reward"] != 0


# The selector and its reward ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("schema", [toy_schema, three_schema], ids=["one source", "two sources"])
def test_the_selector_moves_at_the_end_of_a_window_and_along_equation_9(schema):
    model = make(schema(), sync_every=2, selector_every=2, alpha=0.5, selector_learning_rate=0.02)
    oracle.randomise(model.selector)
    start = values(model.selector.learns)
    g, r = [], []
    for k in range(4):
        assert equal(model.selector.learns, start)
        batch = rows(model, k)
        g.append(score_gradients(model, batch[0]))
        r.append(step(model, batch)["reward"])
    assert r[0] == r[2] == 0 and r[1] and r[3]  # the towers start each window alike
    returns = np.array([r[1], 0, r[3], 0]) - (r[1] + r[3]) / 4
    for index, (before, after) in enumerate(zip(start, values(model.selector.learns))):
        ascent = sum(returns[k] * g[k][index] for k in range(4)) / 4
        # Adam's first step, with the rate alpha * selector_learning_rate
        expected = 0.01 * np.sqrt(0.001) * ascent / (np.sqrt(0.001) * np.abs(ascent) + 1e-7)
        np.testing.assert_allclose(after - before, expected, atol=2e-5)
    assert not any(v.any() for v in values([*model.reinforce.trace, *model.reinforce.gain]))


def test_equation_9_as_printed():
    """Plain ascent, without a baseline; the rate is large for the sake of the numbers."""
    model = make(sync_every=2, selector_optimizer="sgd", selector_learning_rate=1e3, reward_norm="none")
    oracle.randomise(model.selector)
    start, (x, y) = values(model.selector.learns), rows(model)
    g = score_gradients(model, x)
    step(model, (x, y))
    reward = step(model, rows(model, 1))["reward"]
    for before, after, gradient in zip(start, values(model.selector.learns), g):
        np.testing.assert_allclose(after - before, 1e3 * reward * gradient / 2, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_the_sign_of_the_reward_is_the_sign_of_the_move():
    x, _ = rows(make())
    for reward in (0.3, -0.3, 0.0):
        model = make(sync_every=2, selector_learning_rate=0.01, reward_norm="none")
        model.reinforce.normalised = lambda r, reward=reward: tf.constant(reward)
        start, before = (
            values(model.selector.learns),
            float(tf.reduce_mean(model.selector_weights(x)["books"])),
        )
        for k in range(2):
            model.train_step(rows(model, k))
        aligned_after = model.selector_weights(x)["books"]
        if reward == 0:
            assert equal(model.selector.learns, start)
            continue
        # SAN has moved as well: p of the old selector on the same rows is what the move is measured against.
        moved = float(tf.reduce_mean(aligned_after))
        for v, old in zip(model.selector.learns, start):
            v.assign(old)
        unmoved = float(tf.reduce_mean(model.selector_weights(x)["books"]))
        assert np.sign(moved - unmoved) == np.sign(reward)
        assert 0 < moved < 1 and 0 < before < 1


def test_no_loss_reaches_the_selector():
    model = make()
    assert not {id(v) for v in model.selector.variables} & {id(v) for v in model.optimized_variables}
    x, y = rows(model)
    with tf.GradientTape() as tape:
        p = model.selector(model.aligned(x, training=True)["books"])
    san = [v.value for v in model.trainable_variables if "san" in v.path]
    assert san and all(g is None for g in tape.gradient(p, san))


@pytest.mark.slow
def test_alpha_zero_is_a_multi_domain_model():
    """p = 1/2 for ever: the model without IFN, whose source counts half."""
    model, other = make(alpha=0.0, sync_every=2), make(selector_mode="none", sync_every=2)
    other.compile(Adam(0.01), loss_weights={"books": 0.5})
    for k in range(4):
        logs = step(model, rows(model, k))
        step(other, rows(model, k))
        assert logs["selector"] == 0.5
    for one, two in zip(values(model.mixed.weights), values(other.mixed.weights), strict=True):
        np.testing.assert_array_equal(one, two)
    assert equal(model.mixed.weights, model.pure.weights)


def test_rows_or_domains_count_alike():
    """With `rows` the domains' means count as the rows they are of, in both towers."""
    model = make(weighting="rows", optimizer=keras.optimizers.SGD(0.1), selector_mode="none", ren_weight=0.0)
    x, y = rows(model)
    other = make(optimizer=keras.optimizers.SGD(0.1), selector_mode="none", ren_weight=0.0)
    other.compile(keras.optimizers.SGD(0.1), loss_weights={"books": 12 / 20, "films": 8 / 20})
    logs, others = step(model, (x, y)), step(other, (x, y))
    assert logs["loss"] == pytest.approx(others["loss"], rel=1e-6)
    for one, two in zip(values(model.weights), values(other.weights), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_rows_may_be_drawn():
    model = make(selector_mode="bernoulli")
    assert np.isfinite(list(step(model, rows(model)).values())).all()


def test_the_selector_hears_rows_by_their_weight():
    model = make()
    x, y = rows(model)
    weight = tf.constant([0.0, 1.0, 2.0] * 4)
    with tf.GradientTape() as tape:
        p = model.selector.network(model.aligned(x, training=True)["books"])[:, 0]
        score = tf.reduce_sum(weight * tf.math.log(p)) / 12
    expected = tape.gradient(score, [v.value for v in model.selector.learns])
    step(model, (x, y, {"books": weight}))
    for trace, gradient in zip(model.reinforce.trace, expected):
        np.testing.assert_allclose(trace, gradient, rtol=1e-4, atol=1e-6)


# Semantic alignment ---------------------------------------------------------------------------------------------------


def test_source_rows_get_the_targets_token_widths():
    model = make()
    assert dict(model.san["books"].widths) == {"user": 4 + 1 + 24, "item": 8, "context": 4}
    vector = model.aligned(rows(model)[0])["books"]
    assert vector.shape == (12, 41)
    assert (vector[:, -4:].numpy() == 0).all()  # books have no context
    assert set(model.san["books"].maps) == {"user", "item"}


def swapped_contexts(dropped=()) -> Schema:
    """The toy schema, but it is the books that list a device; without features of some roles in the books."""
    schema = toy_schema()
    films = tuple(f for f in schema.target_domain.features if f.role != "context")
    device = schema.target_domain.feature("device")
    books = tuple(f for f in (*schema.domain("books").features, device) if f.role not in dropped)
    return schema.reading({"books": books, "films": films})


@pytest.mark.exhaustive
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_features_of_a_source_whose_token_the_target_lacks_are_not_read(pooling):
    model = make(swapped_contexts(), pooling=pooling, sync_every=2)
    assert not any("device" in v.path for v in model.variables)
    before = values(model.trainable_variables)
    x, y = rows(model)
    for k in range(4):
        model.train_step(rows(model, k))
    still = [v.path for v, old in zip(model.trainable_variables, before) if (oracle.array(v) == old).all()]
    assert still == []
    books = {name: value for name, value in x["books"].items() if name != "device"}
    np.testing.assert_array_equal(model({"books": books})["books"], model(x)["books"])


def test_a_source_that_has_no_token_in_common_is_refused():
    schema = swapped_contexts(dropped=("user", "item", "history"))
    with pytest.raises(SchemaError, match="'books' lists nothing of what 'films' has"):
        make(schema, ren_weight=0.0)


def test_without_alignment_equal_fields_are_read_by_name():
    model = make(twin_schema(), align=False)
    oracle.randomise(model)
    x, _ = rows(model)
    tables = {**oracle.tables(model.mixed.embedding), **oracle.tables(model.san["books"].embedding)}
    f = oracle.fields(model.san["books"].fields, tables, x["books"])
    expected = np.concatenate([f[n] for n in ("user", "history_films", "history_books", "item", "genre")], -1)
    np.testing.assert_allclose(model.aligned(x)["books"], expected, atol=1e-6)
    assert not model.san["books"].maps
    model.train_step(rows(model))


def test_without_alignment_different_fields_are_refused():
    with pytest.raises(SchemaError, match="align=False reads the rows of 'books'"):
        make(align=False)


# Tables of side features ----------------------------------------------------------------------------------------------


def names(layer):
    return {v.path.rsplit("/", 1)[-1] for v in layer.embedding.variables}


def test_ids_have_a_table_a_domain_and_side_features_share_the_mixed_towers():
    """Section 2.5 doubles the ids: users, items, and items that a history lists."""
    model = make()
    assert names(model.san["books"]) == {"user", "book", "film", "word"}  # films have no words
    assert names(model.mixed) == names(model.pure) == {"user", "film", "book", "genre", "stars", "device"}
    genre = model.mixed.embedding.table("genre")
    x, _ = rows(model)
    before = model.aligned(x)["books"]
    genre.assign(genre + 1.0)
    assert np.abs(model.aligned(x)["books"] - before).max() > 0.01


def test_side_features_are_apart_where_the_table_or_the_model_says_so_or_the_source_teaches_nothing():
    schema = toy_schema()
    tables = tuple(dataclasses.replace(t, per_domain=t.name == "genre") for t in schema.tables)
    own = make(dataclasses.replace(schema, tables=tables))
    assert "genre_books" in names(own.san["books"]) and "stars" not in names(own.san["books"])
    for model in (make(share_side_features=False), make(selector_mode="closed")):
        assert names(model.san["books"]) == {"user", "book", "film", "word", "genre", "stars"}


def test_a_source_of_side_features_alone_keeps_its_tables():
    schema = toy_schema()
    genre = schema.domain("books").feature("genre")
    model = make(schema.reading({"books": (genre,)}), ren_weight=0.0)
    assert names(model.san["books"]) == {"genre"}
    model.train_step(rows(model))


def test_a_file_that_does_not_say_has_a_table_a_domain():
    config = make().get_config()
    assert config.pop("share_side_features")
    assert not CCTL.from_config(config).share_side_features
    assert not type("Own", (CCTL,), {}).from_config(config).share_side_features
    assert CCTL(toy_schema()).share_side_features


# Representation enhancement -------------------------------------------------------------------------------------------


def test_the_enhancement_is_bounded_scale_free_and_zero_for_equal_tables():
    model = make()
    for seed in range(3):
        oracle.randomise(model, seed)
        x, _ = rows(model, seed)
        loss = float(ren_loss(model, x))
        assert -2 <= loss <= 2 and loss != 0
    for table in model.san["books"].embedding.variables:
        table.assign(table * 100.0)
    assert float(ren_loss(model, x)) == pytest.approx(loss, abs=1e-5)
    # Coinciding tables and sequences make both terms 1.
    source, target = model.san["books"].embedding, model.mixed.embedding
    source.table("user").assign(target.table("user"))
    source.table("book").assign(tf.concat([target.table("film"), tf.zeros((20, 4))], 0))
    for domain in x:
        x[domain]["books_seen"] = x[domain]["films_seen"]
    assert float(ren_loss(model, x)) == pytest.approx(0, abs=1e-5)


def test_the_enhancement_reaches_the_tables_of_both_domains_and_not_the_pure_tower():
    model = make()
    oracle.randomise(model)
    x, _ = rows(model)
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        loss = ren_loss(model, x)
    gradients = tape.gradient(loss, [v.value for v in variables])
    source, target = model.san["books"].embedding, model.mixed.embedding
    wanted = [source.table("user"), source.table("book"), target.table("user"), target.table("film")]
    reached = [v for v, gradient in zip(variables, gradients) if gradient is not None]
    assert {v.path for v in reached} == {v.path for v in wanted}


def test_unknown_users_and_missing_histories_do_not_count():
    model = make()
    oracle.randomise(model)
    x, _ = rows(model)
    for domain in x:
        x[domain]["user"] = tf.ones_like(x[domain]["user"])
        x[domain]["books_seen"] = tf.zeros_like(x[domain]["books_seen"])
    assert float(ren_loss(model, x)) == 0


def one_user(x, domain, user):
    """The rows with one user in a domain's rows and nobody in the others, and no history of books."""
    return {
        name: {
            **rows,
            "user": tf.fill(rows["user"].shape, user if name == domain else 0),
            "books_seen": tf.zeros_like(rows["books_seen"]),
        }
        for name, rows in x.items()
    }


@pytest.mark.slow
def test_an_id_counts_from_the_step_on_in_which_both_domains_have_trained_it(tmp_path):
    model = make()
    x, y = rows(model)
    weights = {name: tf.ones(len(labels)) for name, labels in y.items()}
    user_tables = model.san["books"].embedding.table("user"), model.mixed.embedding.table("user")

    def gradients(x):
        with tf.GradientTape() as tape:
            loss = enhance(model, x, weights)
        found = tape.gradient(loss, [table.value for table in user_tables])
        return [g is not None and np.abs(tf.convert_to_tensor(g)).max() > 0 for g in found]

    for domain in (
        "films",
        "films",
        "books",
    ):  # 7 is known to the vocabulary, and for a while a user of films alone
        assert not any(gradients(one_user(x, "films", 7)))
        only = one_user(x, domain, 7)
        logs = step(model, (only, y))
        assert (logs["ren_loss"] != 0) == (domain == "books")
    assert all(gradients(one_user(x, "films", 7))) and all(gradients(one_user(x, "books", 7)))
    assert not any(gradients(one_user(x, "films", 8)))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for name in x:
        assert np.flatnonzero(again.ren.seen[name]["user"]).tolist() == [0, 7]  # 0 is nobody


def test_a_row_of_weight_zero_trains_no_id():
    model = make()
    x, y = rows(model)
    step(model, (one_user(x, "films", 7), y))
    weights = {name: tf.zeros(len(labels)) for name, labels in y.items()}
    step(model, (one_user(x, "books", 7), y, weights))
    assert not model.ren.seen["books"]["user"][7] and model.ren.seen["films"]["user"][7]


# Ablations, several sources, ratings ----------------------------------------------------------------------------------


def test_without_the_information_flow_every_source_row_counts_in_full():
    model = make(selector_mode="none", optimizer=Adam(0.0), sync_every=1)
    x, y = rows(model)
    expected = float(model.domain_losses(y, model(x))["books"])
    start = values(model.selector.variables)
    logs = step(model, (x, y))
    assert logs["books_loss"] == pytest.approx(expected, rel=1e-5) and logs["selector"] == 1
    assert equal(model.selector.variables, start)


def test_without_the_enhancement_its_loss_is_zero():
    model = make(ren_weight=0.0)
    logs = step(model, rows(model))
    assert logs["ren_loss"] == 0
    assert logs["loss"] == pytest.approx(logs["books_loss"] + logs["films_loss"], rel=1e-6)


@pytest.mark.slow
def test_every_source_has_its_alignment_and_its_loss():
    model = make(three_schema(), sync_every=2)
    before = values(model.trainable_variables)
    for k in range(4):
        logs = step(model, rows(model, k))
    assert {"books_loss", "music_loss", "films_loss"} <= set(logs)
    assert {s: set(san.maps) for s, san in model.san.items()} == dict.fromkeys(
        ("books", "music"), {"user", "item"}
    )
    assert set(model.selector_weights(rows(model)[0])) == {"books", "music"}
    still = [v.path for v, old in zip(model.trainable_variables, before) if (oracle.array(v) == old).all()]
    assert still == []


def test_a_source_without_rows_adds_nothing():
    model = make(sync_every=2)
    x, y = rows(model)
    none = keras.tree.map_structure(lambda t: t[:0], (x["books"], y["books"]))
    before = values(model.pure.trainable_variables)
    for _ in range(2):
        logs = step(model, ({**x, "books": none[0]}, {**y, "books": none[1]}))
    assert (
        logs["books_loss"] == logs["selector"] == 0 and logs["loss"] == logs["films_loss"] + logs["ren_loss"]
    )
    assert all(np.isfinite(value).all() for value in values(state(model)))
    assert not all((v == old).all() for v, old in zip(values(model.pure.trainable_variables), before))


def test_ratings():
    model = make(toy_schema("rating"), sync_every=2)
    x, y = rows(model)
    scores = model(x)
    assert step(model, (x, y))["films_loss"] == pytest.approx(
        np.mean((y["films"] - scores["films"]) ** 2), rel=1e-5
    )
    logs = step(model, rows(model, 1))
    assert (
        logs["reward"] == pytest.approx(logs["pure_loss"] - logs["films_loss"], abs=1e-6)
        and logs["reward"] != 0
    )


# Fit, save, serve -----------------------------------------------------------------------------------------------------


def test_a_fit_in_which_the_selector_learns_nothing_says_so():
    model = make(sync_every=3, selector_every=2)
    with pytest.warns(
        UserWarning, match="learns every 6 steps .* training has taken 2: it has learnt nothing"
    ):
        model.fit(toy_dataset(toy_schema(), {"books": 12, "films": 8}, 2), verbose=0)


@pytest.mark.once
@pytest.mark.exhaustive
def test_fit_in_a_graph_with_several_steps_an_execution_is_the_same_training(tmp_path):
    data = toy_dataset(toy_schema(), {"books": 12, "films": 8}, 6)
    eager, graph = make(sync_every=3), make(sync_every=3)
    graph.compile(Adam(0.01), steps_per_execution=2)
    graph.fit(data, verbose=0)
    for batch in data:
        eager.train_step(batch)
    for one, two in zip(values(eager.variables), values(graph.variables), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)
    assert equal(graph.mixed.weights, graph.pure.weights)


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(lambda: Adam(0.01), id="plain"),
        pytest.param(
            lambda: keras.optimizers.LossScaleOptimizer(Adam(0.01)),
            id="loss scale",
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_a_run_saved_inside_a_window_goes_on_as_if_nothing_had_happened(tmp_path, optimizer):
    model = make(
        optimizer=optimizer(), sync_every=3, selector_mode="bernoulli", reward_norm="ema", dropout=0.2
    )
    for k in range(5):
        model.train_step(rows(model, k))
    assert all(v.any() for v in values(model.reinforce.trace))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert int(again.reinforce.step) == 5
    for k in range(5, 8):
        model.train_step(rows(model, k))
        again.train_step(rows(model, k))
    assert equal(state(model), state(again))


def test_what_is_served_is_the_pure_tower_after_a_synchronisation():
    model = make()
    for k in range(3):
        model.train_step(rows(model, k))
    x, _ = rows(model)
    assert np.abs(model.serve(x["films"]) - model(x)["films"][:, 0]).max() > 1e-6
    model.prepare_export()
    np.testing.assert_array_equal(model.serve(x["films"]), model(x)["films"][:, 0])
    with tf.GradientTape() as tape:
        model.serve(x["films"])
    read = {v.ref() for v in tape.watched_variables()}
    assert read <= {v.value.ref() for v in model.pure.trainable_variables}
    assert [f.name for f in model.serving_features] == [f.name for f in model.schema.target_domain.features]


def test_selector_weights_by_source():
    model = make()
    x, _ = rows(model)
    p = model.selector_weights(x)
    assert list(p) == ["books"] and p["books"].shape == (12,)
    assert np.logical_and(p["books"] > 0, p["books"] < 1).all()


# Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"selector_mode": "log"}, "`selector_mode` must be one of log_weight"),
        ({"reward_norm": "l2"}, "`reward_norm` must be one of window"),
        ({"sync_every": 0}, "`sync_every` of CCTL must be a whole number of at least 1"),
        ({"selector_every": 0}, "`selector_every` of CCTL must be a whole number of at least 1"),
        ({"selector_optimizer": "adagrad"}, "`selector_optimizer` must be one of adam, sgd"),
        ({"weighting": "users"}, "`weighting` must be one of rows, domains"),
        ({"alpha": 2.0}, r"`alpha` must lie in \[0, 1\]"),
        ({"gamma": 1.1}, r"`gamma` must lie in \[0, 1\]"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        CCTL(toy_schema(), **arguments)


def test_a_schema_without_a_source_or_without_anything_to_compare_is_refused():
    with pytest.raises(SchemaError, match="the target alone"):
        CCTL(toy_schema().only("films"))
    schema = toy_schema()
    apart = []
    for domain in schema.domains:
        kept = (f for f in domain.features if f.role != "history")
        renamed = (
            dataclasses.replace(f, table=f"{domain.name}_user") if f.name == "user" else f for f in kept
        )
        apart.append(dataclasses.replace(domain, features=tuple(renamed)))
    used = {f.table for d in apart for f in d.features}
    user = schema.table("user")
    tables = (*schema.tables, *(dataclasses.replace(user, name=f"{d.name}_user") for d in apart))
    strangers = Schema(tuple(apart), "films", tuple(t for t in tables if t.name in used))
    with pytest.raises(SchemaError, match="REN has nothing to compare"):
        CCTL(strangers)
    CCTL(strangers, ren_weight=0)


def test_batches_without_the_source_and_global_clipping_are_refused():
    model = make()
    x, y = rows(model)
    with pytest.raises(InputError, match="the batches lack 'books'"):
        model.train_step(({"films": x["films"]}, {"films": y["films"]}))
    with pytest.raises(InputError, match="`global_clipnorm` would scale"):
        model.compile(Adam(0.01, global_clipnorm=1.0))
