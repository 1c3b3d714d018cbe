"""Data-adaptive activations."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from cdrzoo import replicas
from cdrzoo.errors import InputError, shown


@ops.custom_gradient
def _dice(s, alpha, weight):
    """Dice by the statistics of the batch, with its gradient in closed form: three passes instead of a dozen.

    Sums are over the rows of all replicas. With N the sum of the weights, r = 1 / sqrt(Var[s] + eps), z = (s - E[s]) r,
    p = sigmoid(z) and g = dL/dz:

        dL/ds = dL/dy (alpha + (1 - alpha) p) + r (g - w (sum(g) + z sum(g z)) / N)
    """
    total, mean = replicas.summed((ops.sum(weight), ops.sum(weight * s, axis=0)))
    count = ops.maximum(total, 1.0)
    mean = mean / count
    variance = replicas.summed(ops.sum(weight * ops.square(s - mean), axis=0)) / count
    scale = ops.rsqrt(variance + 1e-8)
    p = ops.sigmoid((s - mean) * scale)

    def grad(*args, upstream=None):
        upstream = args[0] if upstream is None else upstream[0]  # no gradient flows through the statistics
        z = (s - mean) * scale
        slope = upstream * s * (1.0 - p)
        g = slope * p * (1.0 - alpha)
        sums = replicas.summed((ops.sum(g, axis=0), ops.sum(g * z, axis=0)))
        means = (sums[0] + z * sums[1]) / count
        return (
            upstream * (alpha + (1.0 - alpha) * p) + scale * (g - weight * means),
            ops.sum(slope, axis=0),
            None,
        )

    return (s * (alpha + (1.0 - alpha) * p), mean, variance, total), grad


@keras.saving.register_keras_serializable(package="cdrzoo")
class Dice(keras.layers.Layer):
    """Data adaptive activation: a PReLU whose rectified point follows the data.

        f(s) = p(s) s + (1 - p(s)) alpha s,   p(s) = 1 / (1 + exp(-(s - E[s]) / sqrt(Var[s] + eps))),   eps = 1e-8

    E and Var are those of the batch, on all replicas, in training (over the steps that the mask admits) and moving
    averages of them otherwise. `alpha` is learnt, one a channel, and starts at 0. The averages start as plain means of
    the batches seen, or a small training set would end before they have left their first values behind.

    Args:
        momentum: of the moving averages, once 1 / (1 - momentum) batches have been seen.

    Call arguments:
        s: `[..., channels]`.
        mask: bool `[...]`: what counts for the statistics. Default: everything.
        training: whether to use the statistics of the batch.

    Returns:
        The shape of `s`.

    Reference: Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", 2018, section 5.3.
    """

    def __init__(self, momentum: float = 0.99, **kwargs):
        super().__init__(**kwargs)
        self.momentum = momentum
        self.supports_masking = True

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.alpha = self.add_weight(name="alpha", shape=shape, initializer="zeros", autocast=False)
        moving: dict[str, Any] = {
            "shape": shape,
            "trainable": False,
            "autocast": False,
            "aggregation": "mean",
        }
        self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", **moving)
        self.moving_variance = self.add_weight(name="moving_variance", initializer="ones", **moving)
        self.batches = self.add_weight(name="batches", initializer="zeros", **{**moving, "shape": ()})

    def call(self, s, mask=None, training=False):
        shape = ops.shape(s)
        s = ops.cast(s, self.variable_dtype)  # the statistics of many steps need float32
        if training:
            s = ops.reshape(s, (-1, shape[-1]))
            weight = (
                ops.ones_like(s[:, :1]) if mask is None else ops.cast(ops.reshape(mask, (-1, 1)), s.dtype)
            )
            y, mean, variance, total = _dice(s, ops.copy(self.alpha), weight)
            seen = ops.minimum(total, 1.0)  # nothing valid, nothing learnt
            self.batches.assign_add(seen)
            share = seen * ops.maximum(1.0 - self.momentum, 1.0 / ops.maximum(self.batches, 1.0))
            self.moving_mean.assign_add(share * (mean - self.moving_mean))
            self.moving_variance.assign_add(share * (variance - self.moving_variance))
            y = ops.reshape(y, shape)
        else:
            p = ops.sigmoid((s - self.moving_mean) * ops.rsqrt(self.moving_variance + 1e-8))
            y = s * (self.alpha + (1.0 - self.alpha) * p)
        return ops.cast(y, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum}


def activation(name: Any, dtype: Any = None) -> keras.layers.Layer:
    """The layer of an activation: `"dice"`, or anything that `keras.activations.get` knows."""
    if name == "dice":
        return Dice(dtype=dtype)
    try:
        return keras.layers.Activation(name, dtype=dtype)
    except ValueError:
        raise InputError(
            "An activation must be 'dice' or one that Keras knows, such as 'relu', 'gelu' or 'linear'. "
            f"Received: {shown(name)}."
        ) from None
