"""One network for the rows of several domains, with a part of each domain in every one of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from cdrzoo import replicas


@keras.saving.register_keras_serializable(package="cdrzoo")
class PartitionedNormalization(keras.layers.Layer):
    """Batch normalization whose statistics are those of the rows' own domain.

        z^ = gamma gamma_p (z - mu_p) / sqrt(sigma_p^2 + eps) + beta + beta_p        p: the rows' domain

    mu_p and sigma_p^2 are those of the domain's rows of the batch, on all replicas, in training and moving averages of
    the domain otherwise, so that a row's output never depends on other rows when it is scored. The averages start as
    plain means of the batches seen, or a small training set would end before they have left their first values behind.
    A batch with fewer than two rows of a domain has no variance: it is normalized by the moving averages and not added
    to them.

    Args:
        domains: names of the domains.
        momentum: of the moving averages, once 1 / (1 - momentum) batches of the domain have been seen.
        epsilon: eps; default 0.001, as in Keras: columns that hardly vary are not blown up.

    Call arguments:
        z: rows of one domain, `[B, width]`.
        domain: its name.
        training: whether to use the statistics of the batch.

    Returns:
        The shape of `z`.

    Reference: Sheng et al., One Model to Serve All: Star Topology Adaptive Recommender for Multi-Domain CTR Prediction
    (CIKM 2021), section 3.3.
    """

    def __init__(self, domains: Sequence[str], momentum: float = 0.99, epsilon: float = 1e-3, **kwargs):
        super().__init__(**kwargs)
        self.domains = tuple(domains)
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, input_shape):
        shape = (input_shape[-1],)
        learnt: dict[str, Any] = {"shape": shape, "autocast": False}
        moving: dict[str, Any] = {**learnt, "trainable": False, "aggregation": "mean"}
        names = self.domains
        self.gamma = self.add_weight(name="gamma", initializer="ones", **learnt)
        self.beta = self.add_weight(name="beta", initializer="zeros", **learnt)
        self.gammas = {p: self.add_weight(name=f"{p}_gamma", initializer="ones", **learnt) for p in names}
        self.betas = {p: self.add_weight(name=f"{p}_beta", initializer="zeros", **learnt) for p in names}
        self.means = {p: self.add_weight(name=f"{p}_mean", initializer="zeros", **moving) for p in names}
        self.variances = {
            p: self.add_weight(name=f"{p}_variance", initializer="ones", **moving) for p in names
        }
        self.batches = {
            p: self.add_weight(name=f"{p}_batches", initializer="zeros", **{**moving, "shape": ()})
            for p in names
        }

    def call(self, z, domain: str, training=False):
        z = ops.cast(z, self.variable_dtype)  # the statistics of many rows need float32
        mean, variance = ops.copy(self.means[domain]), ops.copy(self.variances[domain])
        if training:
            mean, variance = self._learn(z, domain)
        scale = self.gamma * self.gammas[domain] * ops.rsqrt(variance + self.epsilon)
        out = (z - mean) * scale + self.beta + self.betas[domain]
        return ops.cast(out, self.compute_dtype)

    def _learn(self, z, domain: str):
        """The statistics of the batch, which the moving averages take in."""
        rows, mean = replicas.summed((ops.cast(ops.shape(z)[0], z.dtype), ops.sum(z, axis=0)))
        enough = rows > 1
        mean = mean / ops.maximum(rows, 1.0)
        variance = replicas.summed(ops.sum(ops.square(z - mean), axis=0)) / ops.maximum(rows, 1.0)
        mean = ops.where(enough, mean, self.means[domain])
        variance = ops.where(enough, variance, self.variances[domain])
        self.batches[domain].assign_add(ops.cast(enough, z.dtype))
        share = ops.maximum(1.0 - self.momentum, 1.0 / ops.maximum(self.batches[domain], 1.0))
        self.means[domain].assign_add(share * (mean - self.means[domain]))
        self.variances[domain].assign_add(share * (variance - self.variances[domain]))
        return mean, variance

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        arguments = {"domains": list(self.domains), "momentum": self.momentum, "epsilon": self.epsilon}
        return {**super().get_config(), **arguments}


@keras.saving.register_keras_serializable(package="cdrzoo")
class StarDense(keras.layers.Layer):
    """A dense layer of all domains times one of each.

        out = act(x (W * W_p) + b + b_p)        *: element by element;  p: the rows' domain

    W starts as any kernel does, W_p at 1 and b_p at 0: at first the domains are one network. (Of two random matrices
    the product would have the square of their scale, and the signal would vanish.)

    Args:
        units: width of the output.
        domains: names of the domains.
        activation: of the output; default none.
        starts: where each domain's b_p starts; default 0.

    Call arguments:
        x: rows of one domain, `[B, width]`.
        domain: its name.

    Returns:
        `[B, units]`.

    Reference: Sheng et al., STAR (CIKM 2021), section 3.4.
    """

    def __init__(
        self,
        units: int,
        domains: Sequence[str],
        activation: Any = None,
        starts: Sequence[float] | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = units
        self.domains = tuple(domains)
        self.activation = keras.activations.get(activation)
        self.starts = None if starts is None else tuple(starts)

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        self.kernels = {
            p: self.add_weight(name=f"{p}_kernel", shape=shape, initializer="ones") for p in self.domains
        }
        self.biases = {
            p: self.add_weight(
                name=f"{p}_bias", shape=(self.units,), initializer=keras.initializers.Constant(start)
            )
            for p, start in zip(self.domains, self.starts or [0.0] * len(self.domains))
        }

    def call(self, x, domain: str):
        kernel = self.kernel * self.kernels[domain]
        return self.activation(ops.matmul(x, kernel) + self.bias + self.biases[domain])

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "domains": list(self.domains),
            "activation": keras.activations.serialize(self.activation),
            "starts": None if self.starts is None else list(self.starts),
        }
