"""With equal weights our layers say what deepctr's say. Where they differ by design, the test names the difference."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo import layers
from cdrzoo.layers import crosses
from tests.parity.peer import different, draw, give, same

F, D = 5, 4


def randomised(layer, *inputs, seed=1, **kwargs):
    """One of our layers, built by a call, its weights drawn."""
    layer(*inputs, **kwargs)
    for i, v in enumerate(layer.trainable_variables):
        v.assign(draw(*v.shape, seed=seed + i))
    return layer


def listed(fields):
    """Fields as deepctr takes them: a list of `[B, 1, d]`."""
    return [tf.constant(fields[:, i : i + 1]) for i in range(fields.shape[1])]


@pytest.fixture
def fields():
    return draw(6, F, D)


# Products of fields -------------------------------------------------------------------------------------------------


def test_fm_term(fields):
    from deepctr.layers.interaction import FM

    same(crosses.fm_term(fields), FM()(fields))


def test_bi_interaction(fields):
    from deepctr.layers.interaction import BiInteractionPooling

    theirs = BiInteractionPooling()
    same(layers.BiInteraction(weighted=False)(fields), theirs(fields)[:, 0])
    # Weights are DADIN's: deepctr has none, its input weighted says the same.
    ours = randomised(layers.BiInteraction(), fields)
    same(ours(fields), theirs(fields * np.asarray(ours.c))[:, 0])


def test_vector_cross():
    from deepctr.layers.interaction import CrossNet

    x = draw(6, 7)
    ours, theirs = randomised(layers.CrossNet(3, "dcn"), x), CrossNet(3, parameterization="vector")
    theirs(x)
    give(zip([*theirs.kernels, *theirs.bias], [*ours.kernels, *ours.biases]))
    same(ours(x), theirs(x))


def test_the_vector_cross_as_mkt_prints_it_is_another_from_the_second_layer_on():
    from deepctr.layers.interaction import CrossNet

    x = draw(6, 7)
    for count, agree in ((1, same), (2, different)):
        ours, theirs = randomised(layers.CrossNet(count, "literal"), x), CrossNet(count)
        theirs(x)
        give(zip([*theirs.kernels, *theirs.bias], [*ours.kernels, *ours.biases]))
        agree(ours(x), theirs(x))


@pytest.fixture
def pair_attention(fields):
    """Our attention over pairs and deepctr's, which also weighs what it pools: p."""
    from deepctr.layers.interaction import AFMLayer

    ours, p = randomised(layers.PairAttention(3), fields), draw(D, 1, seed=9)
    theirs = AFMLayer(attention_factor=3)
    theirs(listed(fields))
    given = zip(
        (theirs.attention_W, theirs.attention_b, theirs.projection_h, theirs.projection_p),
        (ours.kernel, ours.bias, ours.score, p),
    )
    give(given)
    return lambda e: np.asarray(ours(e)[0]) @ p, lambda e: theirs(listed(e))


def test_pair_attention(fields, pair_attention):
    ours, theirs = pair_attention
    same(ours(fields), theirs(fields))


def test_pair_attention_leaves_out_the_pairs_of_a_field_that_a_row_does_not_have(fields, pair_attention):
    """deepctr gives them a share of the softmax."""
    ours, theirs = pair_attention
    fields[:, 2] = 0.0
    different(ours(fields), theirs(fields))
    same(ours(fields), theirs(np.delete(fields, 2, axis=1)))


def test_cin(fields):
    from deepctr.layers.interaction import CIN

    ours, theirs = randomised(layers.CIN((4, 3)), fields), CIN((4, 3), activation="linear", split_half=False)
    theirs(fields)
    give(zip(theirs.filters, ours.kernels))
    same(ours(fields), theirs(fields))


def test_cin_has_no_activation(fields):
    """deepctr's is ReLU unless it is told otherwise: the same where no map is negative, another elsewhere."""
    from deepctr.layers.interaction import CIN

    ours, theirs = randomised(layers.CIN((4, 3)), fields), CIN((4, 3), split_half=False)
    theirs(fields)
    give(zip(theirs.filters, ours.kernels))
    different(ours(fields), theirs(fields))
    give(zip(ours.kernels, [np.abs(kernel) for kernel in map(np.asarray, ours.kernels)]))
    give(zip(theirs.filters, ours.kernels))
    same(ours(np.abs(fields)), theirs(np.abs(fields)))


def test_squeeze_excitation(fields):
    from deepctr.layers.interaction import SENETLayer

    ours, theirs = randomised(layers.SqueezeExcitation(2), fields, seed=4), SENETLayer(reduction_ratio=2)
    theirs(listed(fields))
    give(zip((theirs.W_1, theirs.W_2), (ours.squeeze, ours.excite)))
    same(ours(fields), tf.concat(theirs(listed(fields)), axis=1))


@pytest.mark.parametrize("form", ["all", "each", "interaction"])
def test_bilinear_interaction(fields, form):
    from deepctr.layers.interaction import BilinearInteraction

    ours, theirs = randomised(layers.BilinearInteraction(form), fields), BilinearInteraction(form)
    theirs(listed(fields))
    give(zip([theirs.W] if form == "all" else theirs.W_list, np.asarray(ours.kernel)))
    same(ours(fields), theirs(listed(fields)))


# Dice ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def dice():
    from deepctr.layers.activation import Dice

    s = 1.5 * draw(6, 5, 3) + 0.5
    ours, theirs = layers.Dice(), Dice()
    ours(s), theirs(s)
    for v in (ours.alpha, ours.moving_mean):
        v.assign(draw(3, seed=len(v.path)))
    ours.moving_variance.assign([0.5, 1.0, 2.0])
    given = zip(
        (theirs.alphas, theirs.bn.moving_mean, theirs.bn.moving_variance),
        (ours.alpha, ours.moving_mean, ours.moving_variance),
    )
    give(given)
    return s, ours, theirs


def test_dice(dice):
    """By moving averages and by those of the batch. The epsilons, 1e-8 and 1e-9, are below what is compared."""
    s, ours, theirs = dice
    same(ours(s), theirs(s, training=False))
    same(ours(s, training=True), theirs(s, training=True))


def test_dice_does_not_see_padded_steps(dice):
    """deepctr's statistics count them: without them it is the same."""
    s, ours, theirs = dice
    mask = np.arange(5)[None] < np.array([5, 4, 3, 2, 1, 0])[:, None]
    masked = np.asarray(ours(s, mask=tf.constant(mask), training=True))
    different(masked[mask], np.asarray(theirs(s, training=True))[mask])
    same(masked[mask][None], theirs(s[mask][None], training=True))


def test_the_moving_averages_of_dice_start_as_means(dice):
    """After one batch deepctr's still hold 0.99 of where they started; ours are the batch's mean and variance."""
    s, ours, theirs = dice
    start = np.asarray(theirs.bn.moving_mean), np.asarray(theirs.bn.moving_variance)
    ours(s, training=True), theirs(s, training=True)
    same(0.99 * start[0] + 0.01 * np.asarray(ours.moving_mean), theirs.bn.moving_mean)
    same(0.99 * start[1] + 0.01 * np.asarray(ours.moving_variance), theirs.bn.moving_variance)


# DIN's attention ----------------------------------------------------------------------------------------------------


@pytest.fixture
def attention():
    """Our attention, deepctr's with the same weights, a query and a history."""
    from deepctr.layers.sequence import AttentionSequencePoolingLayer

    def make(activation, softmax):
        q, k = draw(6, D), draw(6, 7, D, seed=2)
        ours = randomised(layers.TargetAttention((5, 3), activation, softmax), q, k)
        theirs = AttentionSequencePoolingLayer((5, 3), activation, weight_normalization=softmax)
        given = lambda lengths: theirs([q[:, None], k, lengths[:, None]])[:, 0]  # noqa: E731
        given(np.full(6, 7))
        unit = theirs.local_att
        give(zip(unit.dnn.kernels, [ours.kernel, *(layer.kernel for layer in ours.hidden)]))
        give(zip(unit.dnn.bias, [ours.bias, *(layer.bias for layer in ours.hidden)]))
        give([(unit.kernel, ours.score.kernel), (unit.bias, ours.score.bias)])
        if activation == "dice":
            for i, (one, other) in enumerate(zip(unit.dnn.activation_layers, ours.activations)):
                other.moving_mean.assign(draw(*other.moving_mean.shape, seed=20 + i))
                other.moving_variance.assign(np.abs(draw(*other.moving_mean.shape, seed=30 + i)) + 0.5)
                give([(one.alphas, other.alpha), (one.bn.moving_mean, other.moving_mean)])
                give([(one.bn.moving_variance, other.moving_variance)])
        return q, k, ours, given

    return make


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("activation", ["dice", "relu"])
@pytest.mark.parametrize("lengths", [[7] * 6, [7, 5, 3, 2, 1, 4]], ids=["full", "padded"])
def test_target_attention(attention, activation, softmax, lengths):
    q, k, ours, theirs = attention(activation, softmax)
    lengths = np.array(lengths)
    mask = np.arange(7)[None] < lengths[:, None]
    same(ours(q, k, mask=tf.constant(mask)), theirs(lengths))


def test_attention_over_nothing_is_nothing(attention):
    """deepctr's, with a softmax, is the mean of what stands in the padding; without one it is nothing, too."""
    q, k, ours, theirs = attention("relu", True)
    nothing = np.zeros(6, "int64")
    assert not np.asarray(ours(q, k, mask=tf.zeros((6, 7), "bool"))).any()
    same(k.mean(axis=1), theirs(nothing))
    _, _, _, theirs = attention("relu", False)
    assert not np.asarray(theirs(nothing)).any()
