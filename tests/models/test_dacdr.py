"""DACDR: the equations in NumPy, what the paper promises, and a new domain on a frozen model."""

from __future__ import annotations

import dataclasses
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from cdrzoo import optimizers
from cdrzoo.errors import InputError, SchemaError
from cdrzoo.layers.cross_attention import MODES
from cdrzoo.models.dacdr import DACDR
from cdrzoo.schema import Domain, Feature, Schema, Table
from tests.layers.test_cross_attention import oracle as attention_oracle
from tests.models.toys import toy_dataset, toy_rows, toy_schema

SMALL = {"width": 6, "encoder_units": (7,), "units": (8, 5)}


@pytest.fixture(autouse=True)
def _the_literal_warning_is_known():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Attention in the mode 'literal'")
        yield


def make(schema=None, **arguments):
    model = DACDR(schema or toy_schema(), **{**SMALL, **arguments})
    model.build()
    rng = np.random.default_rng(5)
    for weight in model.weights:  # large weights, so that every softmax matters; row 0 of a table stays zeros
        value = rng.normal(size=weight.shape, scale=0.7)
        if "/embedding/" in weight.path:
            value[0] = 0
        weight.assign(value)
    return model


def rows(schema, domain="films", n=9, seed=1):
    return toy_rows(schema, {domain: n}, seed)


def compiled(model, rate=0.01, eager=True):
    model.compile(optimizers.Adam(rate), run_eagerly=eager)  # tracing takes longer than a handful of steps
    return model


# The equations ------------------------------------------------------------------------------------------------------


def oracle(model, x, domain):
    """The forward pass of one target in float64, from equations 3, 4, 6 and 7."""
    number = lambda tensor: ops.convert_to_numpy(tensor).astype("float64")  # noqa: E731
    dense = lambda layer, v: v @ number(layer.kernel) + number(layer.bias)  # noqa: E731
    x = {name: ops.convert_to_numpy(value) for name, value in x[domain].items()}
    row, vectors = model.schema.domain(domain), {}
    for f in row.features:
        if f.kind == "number":
            vectors[f.name] = x[f.name][:, None].astype("float64")
        elif f.name in {g.name for g in model.read[domain]}:
            vectors[f.name] = number(model.embedding.table(f.table, domain))[x[f.name]]
    # Several ids that are no history are averaged over those that are there.
    for f in row.features:
        if f.kind == "ids" and f.role != "history":
            known = (x[f.name] != 0).astype("float64")
            vectors[f.name] = (vectors[f.name] * known[..., None]).sum(1) / np.maximum(
                known.sum(1, keepdims=True), 1
            )
    item = np.concatenate([vectors[f.name] for f in row.with_role("item")], -1)
    own = np.tile(number(model.views[domain].vector), (len(item), 1))
    e_d = np.concatenate([own, *[vectors[f.name] for f in row.with_role("context")]], -1)
    behaviours = []
    for name in [f.name for f in model.sequences]:
        attention = model.views[domain].attention(name)
        behaviours.append(attention_oracle(attention, vectors[name], e_d, item, x[name] != 0)[0])
    u = np.concatenate([*behaviours, e_d], -1)
    for position, layer in enumerate(model.encoder.dense):
        u = dense(layer, u)
        u = np.maximum(u, 0) if position < len(model.encoder.dense) - 1 else u
    z = np.concatenate([u, *behaviours, item, e_d], -1)
    for layer in model.mlp.dense:
        z = np.maximum(dense(layer, z), 0)
    return dense(model.head, z)


@pytest.mark.parametrize("mode", MODES)
def test_equals_numpy(mode):
    model = make(attention_mode=mode)
    x, _ = rows(model.schema, n=20)
    expected = oracle(model, x, "films")
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(model(x)["films"], 1 / (1 + np.exp(-expected)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "changed", [{"domain_attention": False}, {"item_attention": False}, {"share_attention": True}]
)
def test_variants_equal_numpy(changed):
    model = make(toy_schema("rating"), **changed)
    x, _ = rows(model.schema, n=20)
    np.testing.assert_allclose(model(x)["films"], oracle(model, x, "films"), rtol=1e-3, atol=1e-4)


def test_without_either_attention_a_sequence_is_its_projected_mean():
    model = make(domain_attention=False, item_attention=False)
    x, _ = rows(model.schema)
    table, attention = model.embedding.table("book").numpy(), model.views["films"].attention("books_seen")
    ids = x["films"]["books_seen"].numpy()
    mean = table[ids].sum(1) / np.maximum((ids != 0).sum(1, keepdims=True), 1)
    expected = mean @ attention.domain_step.value_kernel.numpy() @ attention.item_step.value_kernel.numpy()
    np.testing.assert_allclose(
        model.states(x)["films"]["seen"]["books_seen"][0], expected, rtol=1e-4, atol=1e-5
    )


def test_the_loss_is_that_of_the_task():
    for task, loss in (
        ("click", keras.losses.BinaryCrossentropy(from_logits=True)),
        ("rating", keras.losses.MeanSquaredError()),
    ):
        model = compiled(make(toy_schema(task)))
        x, y = rows(model.schema)
        expected = loss(y["films"], oracle(model, x, "films").astype("float32"))
        assert model.evaluate(x, y, verbose=0, return_dict=True)["loss"] == pytest.approx(
            float(expected), rel=1e-4
        )


# What is read, and what is not ---------------------------------------------------------------------------------------


def test_no_user_feature_and_no_history_of_the_target_is_read():
    model = make()
    x, _ = rows(model.schema)
    before = model(x)["films"]
    films = {"user": x["films"]["user"] * 0 + 1, "age": x["films"]["age"] + 9.0}
    films |= {name: x["films"][name] * 0 for name in ("films_seen", "films_genres", "films_stars")}
    np.testing.assert_array_equal(model({"films": {**x["films"], **films}})["films"], before)
    read = [f.name for f in model.serving_features]
    assert read == ["item", "genre", "device", "books_seen", "books_genres", "books_stars"]
    np.testing.assert_array_equal(model.serve({name: x["films"][name] for name in read}), before[:, 0])
    assert not any("user" in weight.path for weight in model.weights)


@pytest.mark.parametrize("mode", ["domain_query", "gate"])
@pytest.mark.parametrize("feature", ["item", "genre", "device", "books_seen", "books_genres", "books_stars"])
def test_everything_that_is_read_matters(mode, feature):
    model = make(attention_mode=mode)
    x, _ = rows(model.schema)
    changed = {"films": {**x["films"], feature: (x["films"][feature] + 1) % 6}}
    assert np.any(model(changed)["films"] != model(x)["films"])


def test_the_users_side_features_are_read_when_asked_for_and_the_key_never():
    model, plain = make(user_features=True), make()
    assert {f.name for f in model.read["films"]} - {f.name for f in plain.read["films"]} == {"age"}
    x, _ = rows(model.schema)
    before, user = model(x)["films"], model.user_vectors(x)["films"]
    x["films"]["user"] = tf.roll(x["films"]["user"], 1, 0)
    np.testing.assert_array_equal(model(x)["films"], before)
    x["films"]["age"] = x["films"]["age"] + 1
    assert np.any(model(x)["films"] != before)
    np.testing.assert_array_equal(model.user_vectors(x)["films"], user)  # h reads them, g does not


def test_all_domains_may_be_targets():
    assert make(targets="all").targets == ("books", "films")


def test_own_histories_are_read_when_asked_for():
    model = make(own_history=True)
    x, _ = rows(model.schema)
    assert {"films_seen", "films_genres", "films_stars"} <= {f.name for f in model.serving_features}
    assert np.any(
        model({"films": {**x["films"], "films_seen": x["films"]["films_seen"] * 0}})["films"]
        != model(x)["films"]
    )
    np.testing.assert_allclose(
        model(x)["films"], 1 / (1 + np.exp(-oracle(model, x, "films"))), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("mode", MODES)
def test_the_sources_tables_learn_unless_the_printed_form_is_taken(mode):
    model = make(attention_mode=mode)
    x, _ = rows(model.schema)
    table = model.embedding.table("book")
    with tf.GradientTape() as tape:
        score = tf.reduce_sum(model(x)["films"])
    gradient = tape.gradient(score, table.value)
    assert np.any(gradient.values) == (mode != "literal")


def test_item_sequences_stand_before_side_information():
    films = toy_schema().target_domain
    histories = sorted(films.histories("books"), key=lambda f: f.name)  # genres, seen, stars
    films = dataclasses.replace(
        films, features=(*[f for f in films.features if f.role != "history"], *histories)
    )
    model = DACDR(
        dataclasses.replace(
            toy_schema(),
            domains=(
                toy_schema()
                .domain("books")
                .__class__(
                    "books", tuple(f for f in toy_schema().domain("books").features if f.of != "films")
                ),
                films,
            ),
        )
    )
    assert [f.name for f in model.sequences] == ["books_seen", "books_genres", "books_stars"]


def test_attention_weights_are_those_of_the_pass():
    model = make()
    x, _ = rows(model.schema, n=12)
    weights = model.attention_weights(x)
    assert list(weights) == ["films"] and list(weights["films"]) == [
        "books_seen",
        "books_genres",
        "books_stars",
    ]
    known = x["films"]["books_seen"].numpy() != 0
    alpha, beta = weights["films"]["books_seen"]
    for one in (alpha.numpy(), beta.numpy()):
        assert not np.any(one[~known])
        np.testing.assert_allclose(one.sum(1), known.any(1), atol=1e-6)
    other = {"films": {**x["films"], "item": x["films"]["item"] % 7 + 2}}
    again = model.attention_weights(other)["films"]["books_seen"]
    np.testing.assert_array_equal(again[0], alpha)  # the domain does not know the candidate
    assert np.any(again[1].numpy() != beta.numpy())


def test_user_vectors_need_no_candidate_without_item_attention():
    for item_attention in (True, False):
        model = make(item_attention=item_attention)
        x, _ = rows(model.schema)
        other = {"films": {**x["films"], "item": x["films"]["item"] % 7 + 2}}
        one, two = model.user_vectors(x)["films"], model.user_vectors(other)["films"]
        assert one.shape == (9, SMALL["width"])
        assert np.array_equal(one, two) == (not item_attention)


# Sources and targets -------------------------------------------------------------------------------------------------


def test_source_rows_are_passed_over():
    schema = toy_schema()
    model = compiled(make())
    both, y = toy_rows(schema, {"books": 7, "films": 9}, seed=1)
    assert list(model(both)) == ["films"] and model.training_domains == ("films",)
    logs = model.train_on_batch(both, y, return_dict=True)
    alone = compiled(make())
    only = {"films": both["films"]}, {"films": y["films"]}
    for name, value in alone.train_on_batch(*only, return_dict=True).items():
        assert float(logs[name]) == pytest.approx(float(value))
    for one, other in zip(model.weights, alone.weights):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(InputError, match="scores rows of films. Received rows of: books"):
        model({"books": both["books"]})


def test_two_targets_share_the_head_and_keep_their_views():
    schema = toy_schema()
    model = make(schema, targets=("films", "books"))
    x, y = toy_rows(schema, {"books": 7, "films": 9}, seed=1)
    assert {name: tuple(score.shape) for name, score in model(x).items()} == {
        "films": (9, 1),
        "books": (7, 1),
    }
    # A row of films has no words and no price, and no history of films: it reads zeros in their places.
    with tf.GradientTape() as tape:
        score = tf.reduce_sum(model({"films": x["films"]})["films"])
    other = [w.value for w in model.views["books"].trainable_weights]
    assert all(g is None for g in tape.gradient(score, other))
    compiled(model).train_on_batch(x, y)


def three_domains():
    """The toy schema with records as a further source, whose items the films' rows list too."""
    toy = toy_schema()
    record = Feature("record", "id", "item", dtype="int64", table="record")
    heard = Feature("records_heard", "ids", "history", dtype="int64", table="record", length=4, of="records")
    films = dataclasses.replace(toy.target_domain, features=(*toy.target_domain.features, heard))
    records = Domain("records", (record,), item="record")
    return Schema(
        (toy.domain("books"), records, films), "films", (*toy.tables, Table("record", width=3, rows=12))
    )


def test_several_sources():
    schema = three_domains()
    model = make(schema)
    assert [f.name for f in model.sequences] == ["books_seen", "records_heard", "books_genres", "books_stars"]
    x, _ = rows(toy_schema())
    ids = np.random.default_rng(0).integers(0, 12, (9, 4)).astype("int32")
    x = {"films": {**x["films"], "records_heard": tf.constant(ids)}}
    np.testing.assert_allclose(
        model(x)["films"], 1 / (1 + np.exp(-oracle(model, x, "films"))), rtol=1e-4, atol=1e-5
    )


# A new domain --------------------------------------------------------------------------------------------------------


def with_comics(**changes) -> Schema:
    """The toy schema and a domain that is new: items and pages of its own, the same genres, the books' histories."""
    toy = toy_schema()
    features = {
        "user": Feature("user", "id", "user", dtype="int64", table="user"),
        "item": Feature("item", "id", "item", dtype="int64", table="comic"),
        "genre": Feature("genre", "id", "item", dtype="int64", table="genre"),
        "device": Feature("device", "id", "context", dtype="int64", table="page"),
        **{f.name: f for f in toy.target_domain.histories("books")},
        **changes,
    }
    comics = Domain("comics", tuple(f for f in features.values() if f is not None))
    used = {f.table for f in comics.features}
    new = (("comic", 15), ("page", 5), ("manga", 13))
    tables = [Table(name, width=4, rows=rows) for name, rows in new if name in used]
    return Schema((*toy.domains, comics), "comics", (*toy.tables, *tables))


def comics_rows(schema, n=9, seed=2):
    x, y = toy_rows(dataclasses.replace(schema, domains=schema.domains), {"comics": n}, seed)
    return x, y


@pytest.mark.slow
def test_a_new_domain_trains_its_own_part_and_nothing_else():
    trained = make()
    compiled(trained).fit(toy_dataset(trained.schema, {"films": 16}, 3), verbose=0)
    old_x, _ = rows(trained.schema, n=30)
    old_weights, old_scores = trained.get_weights(), trained(old_x)["films"].numpy()

    schema = with_comics()
    model = DACDR.for_new_domain(trained, schema)
    assert model.targets == ("films", "comics") and model.finetune == "comics"
    for one, other in zip(  # the projections start as copies, the rest of the view does not
        trained.views["films"].attention("books_seen").weights,
        model.views["comics"].attention("books_seen").weights,
    ):
        np.testing.assert_array_equal(one, other)
    before = {v.path: v.numpy() for v in model.weights}
    x, y = comics_rows(schema, n=16)
    compiled(model, eager=False).fit(x, y, batch_size=8, epochs=3, verbose=0)

    moved = {v.path for v in model.weights if np.any(v.numpy() != before[v.path])}
    assert moved == {v.path for v in model.trainable_variables}
    tables = {path.rsplit("/", 1)[1] for path in moved if "/embedding/" in path}
    assert tables == {"comic", "page"} and all("comics_view" in p for p in moved if "/embedding/" not in p)
    assert (
        len(moved) == 2 + 1 + 3 * 6
    )  # tables, the domain's vector, three projections of two steps of three sequences
    assert model.trained_parameters == 15 * 4 + 5 * 4 + 6 + 3 * (
        10 * 6 + 4 * 6 + 4 * 6 + 8 * 6 + 6 * 6 + 6 * 6
    )
    np.testing.assert_array_equal(model(old_x)["films"], old_scores)  # to the bit
    np.testing.assert_array_equal(trained(old_x)["films"], old_scores)
    for one, other in zip(trained.get_weights(), old_weights):
        np.testing.assert_array_equal(one, other)


@pytest.mark.exhaustive
def test_a_new_domain_lowers_its_loss_and_survives_a_round_trip(tmp_path):
    trained = make(attention_mode="gate", share_attention=True)
    schema = with_comics()
    model = compiled(DACDR.for_new_domain(trained, schema), 0.02)
    data = toy_dataset(schema, {"comics": 32}, 6)
    losses = model.fit(data, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    x, y = toy_rows(schema, {"films": 5, "comics": 6})
    for name, scores in model(x).items():
        np.testing.assert_array_equal(again(x)[name], scores)
    assert [v.shape for v in again.trainable_variables] == [v.shape for v in model.trainable_variables]
    assert again.trained_parameters == model.trained_parameters
    trained = {id(v) for v in again.trainable_variables}
    before = [v.numpy() for v in again.weights]
    again.fit({"comics": x["comics"]}, {"comics": y["comics"]}, verbose=0)  # it goes on as it was
    for variable, value in zip(again.weights, before):
        assert id(variable) in trained or np.array_equal(variable.numpy(), value)


@pytest.mark.slow
def test_a_second_new_domain_leaves_the_first_alone():
    first = DACDR.for_new_domain(make(), with_comics())
    compiled(first).fit(*comics_rows(with_comics()), verbose=0)
    schema = with_comics()
    games = dataclasses.replace(schema.target_domain, name="games", features=tuple(
        dataclasses.replace(f, table="game") if f.name == "item" else f for f in schema.target_domain.features
    ))  # fmt: skip
    schema = Schema((*schema.domains, games), "games", (*schema.tables, Table("game", width=4, rows=11)))
    second = DACDR.for_new_domain(first, schema, like="films")
    x, y = toy_rows(schema, {"films": 5, "comics": 6, "games": 7})
    compiled(second).fit({"games": x["games"]}, {"games": y["games"]}, epochs=3, verbose=0)
    known = {name: x[name] for name in ("films", "comics")}
    for name in known:
        np.testing.assert_array_equal(second(x)[name], first(known)[name])
    trained = {v.path.rsplit("/", 1)[-1] for v in second.trainable_variables if "/embedding/" in v.path}
    assert trained == {"game"}  # pages are shared with comics, whose scores must stay


def test_a_table_of_each_domain_starts_as_the_old_one_and_behaviours_stay_frozen():
    toy = toy_schema()
    owned = Schema(toy.domains, toy.target, tuple(
        dataclasses.replace(t, per_domain=t.name in ("genre", "device")) for t in toy.tables
    ))  # fmt: skip
    trained = make(owned)
    comics = with_comics(device=Feature("device", "id", "context", dtype="int64", table="device"))
    schema = Schema((*owned.domains, comics.target_domain), "comics", (*owned.tables, comics.table("comic")))
    model = DACDR.for_new_domain(trained, schema)
    for table in ("genre", "device"):
        np.testing.assert_array_equal(
            model.embedding.table(table, "comics"), trained.embedding.table(table, "films")
        )
    names = {v.path.rsplit("/", 1)[-1] for v in model.trainable_variables if "/embedding/" in v.path}
    assert names == {"comic", "device_comics"}  # genre_comics is also how a row reads its behaviours


@pytest.mark.parametrize(
    ("name", "of", "table", "own_history"),
    [("books_seen", "books", "manga", False), ("films_seen", "comics", "comic", True)],
    ids=["a table of its own", "its items' table"],
)
def test_a_history_whose_table_would_stay_random_is_refused(name, of, table, own_history):
    seen = Feature(name, "ids", "history", dtype="int64", table=table, length=5, of=of, field="item")
    with pytest.raises(SchemaError, match=f"History '{name}' of domain 'comics' looks up table '{table}'"):
        DACDR.for_new_domain(make(own_history=own_history), with_comics(**{name: seen}))


def test_metrics_of_a_source_in_a_batch_are_passed_over_like_its_rows():
    model = DACDR(toy_schema(), **SMALL)
    model.compile(optimizers.Adam(0.01), metrics={"books": ["accuracy"], "films": ["accuracy"]})
    logs = model.train_step(toy_rows(model.schema, {"books": 6, "films": 6}))
    assert "accuracy" in logs and "books_accuracy" not in logs


def test_targets_of_both_tasks_are_refused():
    schema = toy_schema()
    books = dataclasses.replace(schema.domain("books"), task="rating")
    both = dataclasses.replace(schema, domains=(books, schema.target_domain))
    with pytest.raises(SchemaError, match="both tasks"):
        DACDR(both, targets=("films", "books"))
    DACDR(both)  # of the books only what the films' rows list is read


def test_a_new_domain_that_does_not_fit_is_refused():
    trained = make()
    cases = {
        "no new domain": toy_schema(),
        "Table 'genre' must stay": with_comics().with_rows(
            {t.name: t.rows + (t.name == "genre") for t in with_comics().tables}
        ),
        "no columns for context feature 'page'": with_comics(
            device=None, page=Feature("page", "id", "context", dtype="int64", table="page")
        ),
        "no history of another domain": with_comics(books_seen=None, books_genres=None, books_stars=None),
    }
    for message, schema in cases.items():
        with pytest.raises(SchemaError, match=message):
            DACDR.for_new_domain(trained, schema)
    less = with_comics()
    less = dataclasses.replace(less, domains=tuple(
        dataclasses.replace(d, features=tuple(f for f in d.features if f.name != "price")) for d in less.domains
    ))  # fmt: skip
    with pytest.raises(SchemaError, match="must hold domain 'books' as the trained model knows it"):
        DACDR.for_new_domain(trained, less)


# A model of the zoo --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [
        {"targets": ("films", "books")}, {"attention_mode": "gate"}, {"attention_mode": "literal"}, {"width": 5},
        {"domain_attention": False}, {"item_attention": False}, {"share_attention": True}, {"own_history": True},
        {"encoder_units": (3, 3)}, {"units": (6,)}, {"finetune": "films"},
    ],
)  # fmt: skip
def test_every_argument_survives_a_round_trip_and_changes_something(changed, tmp_path):
    model, plain = make(**changed), make()
    x, _ = rows(model.schema)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_config() == model.get_config() and again.schema == model.schema
    np.testing.assert_array_equal(again(x)["films"], model(x)["films"])
    shapes = lambda m: [(v.path, v.shape) for v in m.weights]  # noqa: E731
    trained = lambda m: [v.path for v in m.trainable_weights]  # noqa: E731
    assert (
        shapes(model) != shapes(plain)
        or trained(model) != trained(plain)
        or np.any(model(x)["films"].numpy() != plain(x)["films"].numpy())
    )


def test_dropout_is_on_in_training_alone():
    model = make(dropout=0.5)
    x, _ = rows(model.schema)
    np.testing.assert_array_equal(model(x)["films"], model(x)["films"])
    assert np.any(model(x, training=True)["films"] != model(x)["films"])


@pytest.mark.slow
def test_every_variable_gets_a_gradient_and_a_few_steps_lower_the_loss():
    schema = toy_schema()
    model = compiled(DACDR(schema, **SMALL), eager=False)
    x, y = rows(schema, n=32)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True))
    for variable, gradient in zip(model.trainable_variables, tape.gradient(loss, model.trainable_variables)):
        values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
        assert np.any(values), variable.path
    losses = model.fit(toy_dataset(schema, {"films": 32}, 6), epochs=6, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


def test_padding_and_users_without_behaviour():
    model = make()
    x, _ = rows(model.schema, n=30)
    ids = x["films"]["books_seen"].numpy()
    assert (ids == 0).all(1).any()  # somebody did nothing
    assert np.all(np.isfinite(model(x)["films"]))
    alone = {"films": {name: value[:1] for name, value in x["films"].items()}}
    np.testing.assert_allclose(model(alone)["films"], model(x)["films"][:1], rtol=1e-5)


@pytest.mark.slow
def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    schema = toy_schema()
    model = compiled(DACDR(schema, **SMALL), eager=False)
    x, y = rows(schema, n=16)
    assert all(v.dtype == "float32" for v in model.weights) and model(x)["films"].dtype == tf.float32
    losses = model.fit(toy_dataset(schema, {"films": 32}, 6), epochs=6, verbose=0).history["loss"]
    assert losses[-1] < 0.6 * losses[0]
    weights = model.attention_weights(x)["films"]["books_seen"]
    assert {w.dtype for w in weights} == {tf.float32}


def test_the_literal_mode_warns():
    with pytest.warns(UserWarning, match="does not depend on what the user did"):
        DACDR(toy_schema(), attention_mode="literal")


def test_what_cannot_be_is_refused():
    schema = toy_schema()
    alone = schema.only("films")
    with pytest.raises(SchemaError, match="lists no history of another domain"):
        DACDR(alone)
    films = schema.target_domain
    bare = dataclasses.replace(films, features=tuple(f for f in films.features if f.role != "item"))
    with pytest.raises(SchemaError, match="no feature of role item"):
        DACDR(dataclasses.replace(schema, domains=(
            dataclasses.replace(schema.domain("books"), features=tuple(
                f for f in schema.domain("books").features if f.of != "films")), bare,
        ), tables=tuple(t for t in schema.tables)))  # fmt: skip
    with pytest.raises(InputError, match="must hold the schema's target"):
        DACDR(schema, targets=("books",))
    with pytest.raises(SchemaError, match="needs sequences of one width"):
        DACDR(three_domains(), share_attention=True)
    with pytest.raises(InputError, match="domain_query, gate, literal"):
        DACDR(schema, attention_mode="softmax")


@pytest.mark.once
@pytest.mark.exhaustive
def test_planted_transfer_reaches_users_who_are_new_to_the_target():
    """Cold: no film in the training rows. A DNN of the target alone even reads their films among the test rows."""
    from cdrzoo import data, metrics
    from cdrzoo.data import synthetic
    from cdrzoo.models import DNN

    made = synthetic.synthesize(0.9, target_rows=24_000, cold=0.5)
    day = 86_400
    cuts = [
        1_600_000_000 + 140 * day,
        1_600_000_000 + 160 * day,
    ]  # cold users' first film is after the later one
    prepared = data.prepare(made.schema, made.sources, split={"by": "time", "cuts": cuts})
    cold = prepared.groups("test")["target_rows"].to_numpy() == 0
    reached = {}
    for name, model in (("dnn", DNN(prepared.schema.only("films"))), ("dacdr", DACDR(prepared.schema))):
        wanted = [f.name for f in model.schema.target_domain.features]

        def pick(x, *rest, wanted=wanted):
            return ({"films": {feature: x["films"][feature] for feature in wanted}}, *rest)

        compiled(model, 0.003, eager=False)
        model.fit(prepared.train(256, domains=("films",)).map(pick), epochs=3, verbose=0)
        scores = model.predict(prepared.test().map(pick), verbose=0)["films"][:, 0]
        reached[name] = metrics.evaluate(prepared.parts["films"]["test"].y[cold], scores[cold], "click")[
            "auc"
        ]
    assert reached["dacdr"] > reached["dnn"] + 0.03, reached
