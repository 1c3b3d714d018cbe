"""The MLP tower."""

from __future__ import annotations

import numpy as np

from cdrzoo.layers import MLP, Dice
from cdrzoo.layers.towers import first_output, head
from cdrzoo.schema import Domain, Feature


def test_hidden_layers_by_hand():
    mlp = MLP((2, 1), final_activation="linear")
    mlp.build((None, 2))
    first, second = mlp.dense
    first.set_weights([np.array([[1.0, -1.0], [2.0, 0.5]]), np.array([0.0, 0.25])])
    second.set_weights([np.array([[-3.0], [7.0]]), np.array([0.5])])
    # h = relu([1 + 4, -1 + 1 + 0.25]) = [5, 0.25]; the last layer is linear: -15 + 1.75 + 0.5
    np.testing.assert_allclose(mlp(np.array([[1.0, 2.0]], "float32")), [[-12.75]])


def test_the_last_layer_is_activated_unless_asked_otherwise():
    x = np.random.default_rng(0).normal(size=(50, 3)).astype("float32")
    assert (np.asarray(MLP((4, 4))(x)) >= 0).all()
    assert (np.asarray(MLP((4, 4), final_activation="linear")(x)) < 0).any()


def test_dropout_acts_in_training_only():
    x, mlp = np.ones((200, 8), "float32"), MLP((64,), activation="sigmoid", dropout=0.5)
    share = (np.asarray(mlp(x, training=True)) == 0).mean()
    assert 0.4 < share < 0.6
    assert not (np.asarray(mlp(x, training=False)) == 0).any()


def test_dice_by_name_learns_its_statistics():
    x, mlp = np.random.default_rng(0).normal(size=(50, 3)).astype("float32"), MLP((4,), activation="dice")
    mlp(x, training=True)
    dice = mlp.activations[0]
    assert isinstance(dice, Dice)
    assert np.asarray(dice.moving_mean).any()


def test_configuration_round_trip():
    mlp = MLP((5, 3), activation="tanh", dropout=0.2, final_activation="linear")
    again = MLP.from_config(mlp.get_config())
    assert again.get_config() == mlp.get_config()
    assert [layer.get_config().get("activation") for layer in again.activations] == ["tanh", "linear"]


def test_a_head_starts_at_what_the_training_labels_say():
    feature = Feature("user", "id", "user", table="user")
    clicks = Domain("films", (feature,), mean=0.8)
    layer = head(clicks, name="films_head")
    logit = layer(np.zeros((3, 5), "float32"))
    np.testing.assert_allclose(1 / (1 + np.exp(-np.asarray(logit))), np.full((3, 1), 0.8), rtol=1e-6)
    assert layer.name == "films_head" and logit.dtype == "float32"
    ratings = Domain("films", (feature,), task="rating", mean=4.2)
    np.testing.assert_allclose(head(ratings)(np.zeros((2, 5), "float32")), np.full((2, 1), 4.2), rtol=1e-6)
    assert first_output(Domain("films", (feature,))) == 0.0
    assert np.isfinite([first_output(Domain("films", (feature,), mean=m)) for m in (0.0, 1.0)]).all()
