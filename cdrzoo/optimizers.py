"""Optimizers whose step costs the same whatever the number of rows of an embedding table.

`keras.optimizers.Adam` reads and writes every row of a table and of its moments in every step. The optimizers
here update a variable whose gradient is a `tf.IndexedSlices` (a table read by `tf.nn.embedding_lookup`, as
`cdrzoo.layers.FeatureEmbedding` does) on the touched rows only:

1. gradients of the same row are summed, once;
2. the touched rows of the variable's slots are gathered, updated and scattered back.

Rows that a batch does not touch keep their value and their slots: moments do not decay and no weight decay is
applied while a row is away ("lazy" updates). A step that touches every row equals the Keras optimizer's. A
variable with a dense gradient is left to the Keras optimizer of the same name. Weight decay, `clipnorm`,
`global_clipnorm` and `clipvalue` see the summed gradients, hence the same numbers as for a dense gradient.

TensorFlow rather than `keras.ops`: a sparse update has no `keras.ops` form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from cdrzoo import replicas
from cdrzoo.errors import InputError

__all__ = ["Adagrad", "Adam", "LossScaleOptimizer", "SGD"]


def __dir__() -> list[str]:
    return __all__


def slots(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> list[keras.Variable]:
    """What a built optimizer remembers of one variable (moments, accumulators), in a fixed order."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    index = optimizer._get_variable_index(variable)
    shapes = [tuple(v.shape) for v in optimizer._trainable_variables]
    return [
        slot[index]
        for name, slot in sorted(vars(optimizer).items())
        if isinstance(slot, list)
        and name != "_trainable_variables"
        and len(slot) == len(shapes)
        and all(isinstance(s, keras.Variable) and tuple(s.shape) == shape for s, shape in zip(slot, shapes))
    ]


def copy_slots(
    optimizer: keras.optimizers.Optimizer,
    variables: Sequence[keras.Variable],
    copies: Sequence[keras.Variable],
) -> None:
    """Lets an optimizer remember of each copy what it remembers of the variable."""
    for variable, copy in zip(variables, copies):
        for one, other in zip(slots(optimizer, variable), slots(optimizer, copy)):
            other.assign(one)


class _SummedRows(tf.IndexedSlices):
    """Gradient rows in which every index stands once."""


def _sum_rows(gradient: tf.IndexedSlices, shape) -> _SummedRows:
    """The gradient of a table of this shape with every row once, its values summed.

    The sum is a product with a sparse matrix of ones: TensorFlow's segment sum takes three to ten times as long.
    """
    if isinstance(gradient, _SummedRows):
        return gradient
    ids, table_rows = gradient.indices, shape[0]
    values = tf.reshape(gradient.values, [-1, math.prod(shape[1:])])
    if ids.shape[0] is not None and table_rows <= 2 * ids.shape[0]:
        # The table is smaller than the batch: counting is faster than hashing.
        counts = tf.math.bincount(tf.cast(ids, tf.int32), minlength=table_rows, maxlength=table_rows)
        rows = tf.cast(tf.squeeze(tf.where(counts > 0), 1), ids.dtype)
        sums = tf.gather(_add_up(values, ids, table_rows), rows)
    else:
        rows, position = tf.unique(ids)
        sums = _add_up(values, position, tf.size(rows))
    return _SummedRows(tf.reshape(sums, [-1, *shape[1:]]), rows, gradient.dense_shape)


def _sum_tables(gradients: Sequence, variables: Sequence) -> list:
    """The gradients, those of tables with every row once."""
    return [
        _sum_rows(g, v.shape) if isinstance(g, tf.IndexedSlices) else g for g, v in zip(gradients, variables)
    ]


def _add_up(values: tf.Tensor, position: tf.Tensor, rows) -> tf.Tensor:
    """`[rows, width]`: values `[n, width]` added up at their positions `[n]`."""
    n = tf.size(position, tf.int64)
    return tf.raw_ops.SparseTensorDenseMatMul(
        a_indices=tf.stack([tf.cast(position, tf.int64), tf.range(n)], axis=1),
        a_values=tf.ones_like(position, values.dtype),
        a_shape=tf.stack([tf.cast(rows, tf.int64), n]),
        b=values,
    )


def _raw(variable):
    return variable.value if isinstance(variable, keras.Variable) else variable


def _read(variable, rows: tf.Tensor) -> tf.Tensor:
    return tf.gather(_raw(variable), rows)


def _write(variable, rows: tf.Tensor, values: tf.Tensor) -> None:
    _raw(variable).scatter_update(tf.IndexedSlices(values, rows))


class _RowSparse:
    """What the optimizers share: everything around the update of one variable's touched rows."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name in ("use_ema", "gradient_accumulation_steps"):
            if getattr(self, name):
                raise InputError(
                    f"`{name}` would touch every row of every table in each step and is not supported. Received: "
                    f"{name}={getattr(self, name)}. Leave it out, or use keras.optimizers.{type(self).__name__}."
                )

    def apply(self, grads, trainable_variables=None):
        # Keras divides by the loss scale with `/`, which tf.IndexedSlices does not know: the rows are divided here.
        scale = self.loss_scale_factor
        if scale is None:
            return super().apply(grads, trainable_variables)
        self.loss_scale_factor = None
        try:
            return super().apply(
                [None if g is None else keras.ops.divide(g, scale) for g in grads], trainable_variables
            )
        finally:
            self.loss_scale_factor = scale

    def _backend_apply_gradients(self, grads, trainable_variables):
        variables = [_raw(v) for v in trainable_variables]
        grads = _sum_tables(grads, variables)
        if not replicas.alone():  # Keras adds up the replicas' gradients after it has clipped them
            pairs = self._all_reduce_sum_gradients(zip(grads, variables))
            grads = _sum_tables([g for g, _ in pairs], variables)
        grads = self._clip_gradients(grads)
        dense = [v for g, v in zip(grads, variables) if not isinstance(g, tf.IndexedSlices)]
        self._apply_weight_decay(dense)  # a table's touched rows decay in their update
        pairs = list(zip(grads, variables))
        if not replicas.alone():
            tf.__internal__.distribute.interim.maybe_merge_call(
                self._distributed_tf_update_step, self._distribution_strategy, pairs, self.learning_rate
            )
        else:
            for gradient, variable in pairs:
                self.update_step(gradient, variable, self.learning_rate)

    def _clip_gradients(self, grads):
        # A norm over summed rows is the norm of the dense gradient, so Keras may clip the rows.
        clipped = super()._clip_gradients([g.values if isinstance(g, tf.IndexedSlices) else g for g in grads])
        return [
            _SummedRows(c, g.indices, g.dense_shape) if isinstance(g, tf.IndexedSlices) else c
            for g, c in zip(grads, clipped)
        ]

    def update_step(self, gradient, variable, learning_rate):
        if not isinstance(gradient, tf.IndexedSlices):
            return super().update_step(gradient, variable, learning_rate)
        gradient = _sum_rows(gradient, variable.shape)
        rate = tf.cast(learning_rate, variable.dtype)
        rows, values = gradient.indices, tf.cast(gradient.values, variable.dtype)
        step = self._row_step(rows, values, self._get_variable_index(variable), rate)
        before = _read(variable, rows)
        if self.weight_decay is not None and self._use_weight_decay(variable):
            step += before * tf.cast(self.weight_decay, variable.dtype) * rate
        # Not scatter_sub, which takes ten times as long as scatter_update: that one copies rows.
        _write(variable, rows, before - step)

    def _row_step(self, rows, gradient, index, rate):
        """Updates the slots' rows of the variable number `index`; returns what is to be subtracted from its rows."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="cdrzoo")
class Adam(_RowSparse, keras.optimizers.Adam):
    """Adam that updates only the rows of a table which the batch touched.

    For a touched row, with g the sum of its gradients and t the number of steps of the optimizer:

        m <- m + (1 - beta_1) (g - m)
        v <- v + (1 - beta_2) (g^2 - v)
        row <- row - rate * sqrt(1 - beta_2^t) / (1 - beta_1^t) * m / (sqrt(v) + epsilon) - rate * weight_decay * row

    Args: those of `keras.optimizers.Adam`, without `use_ema` and `gradient_accumulation_steps`.

    Raises:
        InputError: for an argument that has no sparse form.

    Reference: Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2014, Algorithm 1.
    """

    def _row_step(self, rows, gradient, index, rate):
        t = tf.cast(self.iterations + 1, gradient.dtype)
        one = tf.ones((), gradient.dtype)
        rate = rate * tf.sqrt(one - tf.pow(self.beta_2 * one, t)) / (one - tf.pow(self.beta_1 * one, t))
        m = _read(self._momentums[index], rows)
        m += (gradient - m) * (1 - self.beta_1)
        _write(self._momentums[index], rows, m)
        v = _read(self._velocities[index], rows)
        v += (tf.square(gradient) - v) * (1 - self.beta_2)
        _write(self._velocities[index], rows, v)
        if self.amsgrad:
            v = tf.maximum(_read(self._velocity_hats[index], rows), v)
            _write(self._velocity_hats[index], rows, v)
        return m * rate / (tf.sqrt(v) + self.epsilon)


@keras.saving.register_keras_serializable(package="cdrzoo")
class Adagrad(_RowSparse, keras.optimizers.Adagrad):
    """Adagrad that updates only the rows of a table which the batch touched.

    For a touched row, with g the sum of its gradients:

        a <- a + g^2
        row <- row - rate * g / sqrt(a + epsilon) - rate * weight_decay * row

    Args: those of `keras.optimizers.Adagrad`, without `use_ema` and `gradient_accumulation_steps`.

    Raises:
        InputError: for an argument that has no sparse form.

    Reference: Duchi et al., "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization",
    2011.
    """

    def _row_step(self, rows, gradient, index, rate):
        accumulator = _read(self._accumulators[index], rows) + tf.square(gradient)
        _write(self._accumulators[index], rows, accumulator)
        return rate * gradient / tf.sqrt(accumulator + self.epsilon)


@keras.saving.register_keras_serializable(package="cdrzoo")
class SGD(_RowSparse, keras.optimizers.SGD):
    """Gradient descent, with momentum if wanted, that updates only the rows of a table which the batch touched.

    For a touched row, with g the sum of its gradients:

        m <- momentum * m - rate * g
        row <- row + m - rate * weight_decay * row         (nesterov: row + momentum * m - rate * g - ...)

    Args: those of `keras.optimizers.SGD`, without `use_ema` and `gradient_accumulation_steps`.

    Raises:
        InputError: for an argument that has no sparse form.
    """

    def _row_step(self, rows, gradient, index, rate):
        if not self.momentum:
            return rate * gradient
        m = self.momentum * _read(self.momentums[index], rows) - rate * gradient
        _write(self.momentums[index], rows, m)
        return rate * gradient - self.momentum * m if self.nesterov else -m


@keras.saving.register_keras_serializable(package="cdrzoo")
class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """Keras's loss scaling for float16, which skips a step with a gradient that is not finite; here of tables, too.

    Of a row that stands several times in a batch Keras looks at the last gradient alone, so that an overflow in another
    one reaches the table; and it looks at every row of the table. `CrossDomainModel.compile` uses this one.

    Args: those of `keras.optimizers.LossScaleOptimizer`.
    """

    def check_finite(self, grads):
        return super().check_finite([g.values if isinstance(g, tf.IndexedSlices) else g for g in grads])
