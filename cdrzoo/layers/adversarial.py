"""Domain adversarial training: what makes representations of two domains indistinguishable."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from cdrzoo import replicas
from cdrzoo.errors import InputError, shown
from cdrzoo.layers.towers import MLP
from cdrzoo.losses import row_weights
from cdrzoo.xla import fused


def _reverse(x, strength):
    """`x` as it is (0 is added to it); its gradient times -strength."""
    still = ops.stop_gradient(x)
    return still + ops.stop_gradient(strength) * (still - x)


@keras.saving.register_keras_serializable(package="cdrzoo")
class GradientReversal(keras.layers.Layer):
    """The identity, whose gradient is turned round.

        Rev(x) = x,   dRev/dx = -lambda I

    lambda is the variable `strength`, which may be assigned at any time; with `warmup` it rises from 0 in training
    steps t = 1, 2, ...: lambda = strength * (2 / (1 + exp(-10 min(t / warmup, 1))) - 1).

    Args:
        strength: lambda; default 1.
        warmup: training steps over which lambda rises to `strength`; 0 (default): it is `strength` from the start.

    Call arguments:
        x: any tensor.
        training: whether this is a training step.

    Returns:
        `x`.

    Reference: Ganin et al., "Domain-Adversarial Training of Neural Networks", 2016, section 4.2 and, for the schedule,
    section 5.2.2.
    """

    def __init__(self, strength: float = 1.0, warmup: int = 0, **kwargs):
        super().__init__(**kwargs)
        if strength < 0 or warmup < 0:
            raise InputError(
                f"`strength` and `warmup` must be at least 0. Received: {strength} and {warmup}."
            )
        self.initial_strength = strength
        self.warmup = warmup

    def build(self, input_shape=None):
        state: dict[str, Any] = {"shape": (), "trainable": False, "autocast": False}
        initial = keras.initializers.Constant(self.initial_strength)
        self.strength = self.add_weight(name="strength", initializer=initial, dtype="float32", **state)
        self.step = self.add_weight(name="step", initializer="zeros", dtype="int32", **state)

    def call(self, x, training=False):
        strength = ops.convert_to_tensor(self.strength)
        if self.warmup:
            if training:
                self.step.assign_add(1)
            progress = ops.minimum(ops.cast(self.step, "float32") / self.warmup, 1.0)
            strength = strength * (2.0 / (1.0 + ops.exp(-10.0 * progress)) - 1.0)
        return _reverse(x, ops.cast(strength, x.dtype))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "strength": self.initial_strength, "warmup": self.warmup}


@keras.saving.register_keras_serializable(package="cdrzoo")
class DomainAlignment(keras.layers.Layer):
    """Aligns the joint distribution of two domains: a global and two intra-class domain classifiers.

    With d = 1 for rows of the target and 0 for others, p a row's predicted probability and sg a stopped gradient:

        d^  = sigmoid(W_3 Rev(h) + b_3)              over all rows        -> "domain_loss"
        d^1 = sigmoid(W_4 Rev(sg[p] h) + b_4)        over rows p >= T     -> "class1_loss"
        d^0 = sigmoid(W_5 Rev((1 - sg[p]) h) + b_5)  over rows p < T      -> "class0_loss"

    each a mean cross-entropy with d. The classifiers learn to tell the domains apart; by the reversal, what made h
    learns to prevent it. To the letter (`stable=False`) that diverges: the reversed losses have no upper bound, what
    makes h can raise them for ever by making h large, and with Adam it moves faster than a linear classifier follows.
    So by default

    - the reversal rests while a classifier does no better than chance: there is nothing left to confuse. The
      classifier goes on learning;
    - the two domains have half of the weight each, so that chance is a cross-entropy of log 2, and a classifier
      learns nothing from the number of rows or, within a class, from the click rates alone. For the global classifier
      and as many rows of the target as others this is the paper's mean over rows.

    A class that lacks rows of the target or of the sources gives 0; to the letter, a class without any row does. Rows
    count by their weight everywhere, in the running mean of p too.

    Args:
        marginal: whether there is a global classifier.
        conditional: whether there are intra-class classifiers.
        threshold: T: a number, `"base_rate"` (a running mean of p, for data with few clicks, where p never reaches
            0.5 and class 1 would stay empty) or `"label"` (classes are the true labels).
        strength: lambda of the reversal.
        warmup: training steps over which lambda rises, see `GradientReversal`.
        stable: `False` is the paper to the letter.
        units: hidden layers of each classifier (ReLU); default none: they are linear, as printed above.

    Call arguments:
        h: `[n, width]`, of the rows of all domains.
        probability: p, `[n, 1]`; no gradient flows into it.
        target: d, `[n, 1]`.
        label: `[n, 1]`; read for `threshold="label"` alone.
        weight: what each row counts, `[n, 1]`; default 1 each.
        training: whether this is a training step.

    Returns:
        `{name: float32 scalar}` of the classifiers there are, and `domain_accuracy` of the global one.

    Reference: Kong et al., "DADIN: Domain Adversarial Deep Interest Network for Cross Domain Recommender Systems",
    2023, equations 11-14 and 16-18 (where the minus of the cross-entropy is missing). That p is constant in eqs. 13
    and 14 follows from eq. 24, where the label predictor learns from the prediction loss alone.
    """

    def __init__(
        self,
        marginal: bool = True,
        conditional: bool = True,
        threshold: float | str = 0.5,
        strength: float = 1.0,
        warmup: int = 0,
        stable: bool = True,
        units: Sequence[int] = (),
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # probabilities stay exact under mixed precision
        if isinstance(threshold, str) and threshold not in ("base_rate", "label"):
            raise InputError(
                f"`threshold` must be a number, 'base_rate' or 'label'. Received: {shown(threshold)}. For data with "
                "few clicks 'base_rate' is advised."
            )
        self.marginal = marginal
        self.conditional = conditional
        self.threshold = threshold
        self.stable = stable
        self.units = tuple(units)
        self.reversal = GradientReversal(strength, warmup, dtype=self.dtype_policy)
        names = ["domain"] * marginal + ["class1", "class0"] * conditional
        self.classifiers = {
            name: keras.layers.Dense(1, name=f"{name}_classifier", dtype=self.dtype_policy) for name in names
        }
        self.hidden = {
            name: MLP(self.units, name=f"{name}_hidden", dtype=self.dtype_policy) for name in names if units
        }

    def build(self, h_shape):
        self.reversal.build(h_shape)
        for hidden in self.hidden.values():
            hidden.build(h_shape)
        for classifier in self.classifiers.values():
            classifier.build((*h_shape[:-1], (h_shape[-1], *self.units)[-1]))
        if self.threshold == "base_rate":
            # Debiased as Adam's moments are: the first steps count fully, whatever the click rate is.
            state: dict[str, Any] = {"trainable": False, "autocast": False, "dtype": "float32"}
            self.moments = self.add_weight(
                name="moments", shape=(2,), initializer="zeros", aggregation="mean", **state
            )

    def call(self, h, probability, target, label=None, weight=None, training=False):
        weight = ops.ones_like(probability) if weight is None else weight
        rows = [h, probability, target, weight] + ([] if label is None else [label])
        terms = functools.partial(self._terms, training=training)
        return fused(terms, *rows, layer=self, training=training)

    def _terms(self, h, probability, target, weight, label=None, training=False):
        probability = ops.stop_gradient(ops.cast(probability, "float32"))
        target, every = ops.cast(target, "float32"), ops.cast(weight, "float32")
        h = self.reversal(h, training=training)
        terms = {}
        if self.marginal:
            weights = self._weights(target, every)
            terms["domain_loss"] = self._loss("domain", h, target, weights)
            correct = ops.cast((self.domain_logit(h) > 0) == (target > 0.5), "float32")
            terms["domain_accuracy"] = replicas.summed(ops.sum(weights * correct))
        if self.conditional:
            positive = ops.cast(self._positive(probability, label, every, training), "float32")
            p = ops.cast(probability, h.dtype)
            for name, share, chosen in (("class1", p, positive), ("class0", 1.0 - p, 1.0 - positive)):
                weights = self._weights(target, every * chosen)
                terms[f"{name}_loss"] = self._loss(name, share * h, target, weights)
        return terms

    def by_domain(self, target: str, h, y, y_pred, sample_weight=None, training=True) -> dict[str, Any]:
        """The terms of a batch, as `auxiliary_losses` of a model gives them.

        Args:
            target: the name of the target.
            h: `{domain: [B, width]}`, what is to be aligned.
            y, y_pred, sample_weight: labels, probabilities and weights as a model's losses have them, by domain.

        Returns:
            What a call returns; nothing outside training, nor for rows of one domain, which cannot be told apart.
        """
        if not training or len(y) < 2:
            return {}

        def rows(of):
            return ops.concatenate([of[name] for name in y], axis=0)

        return self(
            rows(h),
            rows(y_pred),
            rows({name: ops.full_like(y_pred[name], name == target) for name in y}),
            label=rows({name: ops.reshape(ops.cast(y[name], "float32"), (-1, 1)) for name in y}),
            weight=rows(row_weights(y, sample_weight))[:, None],
            training=True,
        )

    @staticmethod
    def term_weights(domain: float, classes: float, alpha: float) -> dict[str, float]:
        """What the terms count in a loss: lambda_2 L_d + lambda_3 (alpha L_d^0 + (1 - alpha) L_d^1) of equation 22.

        Args:
            domain: lambda_2.
            classes: lambda_3.
            alpha: share of class 0.
        """
        shares = {"class0_loss": classes * alpha, "class1_loss": classes * (1.0 - alpha)}
        return {"domain_loss": domain, "domain_accuracy": 0.0, **shares}

    def _loss(self, name: str, h, target, weights):
        """The mean cross-entropy of one classifier, by the weights of the rows."""
        if self.stable:
            now = _cross_entropy(target, self._logit(name, ops.stop_gradient(h)))
            h = ops.where(replicas.summed(ops.sum(weights * now)) < math.log(2), h, ops.stop_gradient(h))
        return replicas.summed(ops.sum(weights * _cross_entropy(target, self._logit(name, h))))

    def _logit(self, name: str, h):
        return self.classifiers[name](self.hidden[name](h) if self.units else h)

    def _weights(self, target, chosen):
        """What each chosen row counts: over all replicas 1 in sum, or 0 where a class has nothing to tell apart."""
        if not self.stable:
            return chosen / ops.maximum(replicas.summed(ops.sum(chosen)), 1e-7)
        one, other = chosen * target, chosen * (1.0 - target)
        sums = replicas.summed((ops.sum(one), ops.sum(other)))
        both = ops.cast(ops.logical_and(sums[0] > 0, sums[1] > 0), chosen.dtype)
        return 0.5 * both * (one / ops.maximum(sums[0], 1e-7) + other / ops.maximum(sums[1], 1e-7))

    def domain_logit(self, h):
        """The global classifier's logit that a row is of the target, float32 `[n, 1]`."""
        return ops.cast(self._logit("domain", h), "float32")

    def _positive(self, probability, label, weight, training: bool):
        if self.threshold == "label":
            return label > 0.5
        if self.threshold != "base_rate":
            return probability >= self.threshold
        if training:
            clicks, total = replicas.summed((ops.sum(weight * probability), ops.sum(weight)))
            now = ops.stack([clicks / ops.maximum(total, 1e-7), ops.sign(total)])
            self.moments.assign(0.99 * self.moments + 0.01 * now)
        return probability >= self.base_rate

    @property
    def base_rate(self):
        """The running mean of p."""
        return self.moments[0] / ops.maximum(self.moments[1], 1e-7)

    def compute_output_shape(self, h_shape):
        return dict.fromkeys(self._logged(), ())

    def compute_output_spec(self, h, probability, target, label=None, weight=None, training=False):
        return {name: keras.KerasTensor((), "float32") for name in self._logged()}

    def _logged(self) -> list[str]:
        """The names of what a call returns."""
        return ["domain_loss", "domain_accuracy"] * self.marginal + [
            "class1_loss",
            "class0_loss",
        ] * self.conditional

    def get_config(self):
        return {
            **super().get_config(),
            "marginal": self.marginal,
            "conditional": self.conditional,
            "threshold": self.threshold,
            "strength": self.reversal.initial_strength,
            "warmup": self.reversal.warmup,
            "stable": self.stable,
            "units": list(self.units),
        }


def _cross_entropy(target, logit):
    return keras.losses.binary_crossentropy(target, ops.cast(logit, "float32"), from_logits=True)[:, None]
