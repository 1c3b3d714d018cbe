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

import functools
import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from cdrzoo import pieces, replicas, xla
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
    """The gradient of a table of this shape with every row once, its values summed."""
    if isinstance(gradient, _SummedRows):
        return gradient
    rows, position = tf.unique(gradient.indices)
    sums = _add_up(_as_rows(gradient.values, shape), position, tf.shape(rows)[0])
    return _SummedRows(tf.reshape(sums, [-1, *shape[1:]]), rows, gradient.dense_shape)


def _sum_tables(gradients: Sequence, variables: Sequence) -> list:
    """The gradients, those of tables with every row once."""
    return [
        _sum_rows(g, v.shape) if isinstance(g, tf.IndexedSlices) else g for g, v in zip(gradients, variables)
    ]


def _as_rows(values: tf.Tensor, shape) -> tf.Tensor:
    """Rows of a table of any rank as vectors."""
    return _shaped(values, [-1, math.prod(shape[1:])])


def _shaped(values: tf.Tensor, shape) -> tf.Tensor:
    """`tf.reshape`, where it changes something."""
    return values if len(values.shape) == len(shape) else tf.reshape(values, shape)


def _add_up(values: tf.Tensor, position: tf.Tensor, rows) -> tf.Tensor:
    """`[rows, width]`: values `[n, width]` added up at their positions `[n]`.

    On a CPU it is a product with a sparse matrix of ones: TensorFlow's segment sum takes three to ten times as long. A
    GPU has no deterministic kernel for such a product; its segment sum is fast, and has one.
    """
    if replicas.on_gpu():
        return tf.math.unsorted_segment_sum(values, position, rows)
    position = tf.cast(position, tf.int64)
    n = position.shape[0] or tf.size(position, tf.int64)
    return tf.raw_ops.SparseTensorDenseMatMul(
        a_indices=tf.stack([position, tf.range(n, dtype=tf.int64)], axis=1),
        a_values=tf.ones_like(position, values.dtype),
        a_shape=tf.stack([tf.cast(rows, tf.int64), n]),
        b=values,
    )


def _raw(variable):
    return variable.value if isinstance(variable, keras.Variable) else variable


class _Dense:
    """The gradients of variables as one vector; of a single variable in its own shape."""

    def __init__(self, gradients, variables):
        self.shapes = [v.shape for v in variables]
        self.gradient = self._joined([tf.cast(g, v.dtype) for g, v in zip(gradients, variables)])

    def _joined(self, values):
        return values[0] if len(values) == 1 else tf.concat([_shaped(v, [-1]) for v in values], axis=0)

    def _parts(self, whole):
        if len(self.shapes) == 1:
            return [whole]
        parts = tf.split(whole, [shape.num_elements() for shape in self.shapes])
        return [_shaped(part, shape) for part, shape in zip(parts, self.shapes)]

    def read(self, variables):
        return self._joined([tf.convert_to_tensor(_raw(v)) for v in variables])

    def write(self, variables, values, before):
        for variable, value in zip(variables, self._parts(values)):
            _raw(variable).assign(value)

    def subtract(self, variables, step):
        for variable, value in zip(variables, self._parts(step)):
            variable.assign_sub(value)


class _Tables(_Dense):
    """The gradients of tables of one width that a batch reads about as often as they have rows.

    All their rows are computed anew, in place of those that the batch touched, and the touched ones are taken: reading
    on is faster than looking up.
    """

    def __init__(self, gradients, variables):
        self.shapes = [v.shape for v in variables]
        values = [_as_rows(g.values, v.shape) for g, v in zip(gradients, variables)]
        ids, values = self._side_by_side([g.indices for g in gradients], values)
        rows = sum(shape[0] for shape in self.shapes)
        self.gradient = _add_up(tf.cast(values, variables[0].dtype), ids, rows)
        self.touched = tf.raw_ops.SparseToDense(
            sparse_indices=ids,
            output_shape=tf.constant([rows], ids.dtype),
            sparse_values=True,
            default_value=False,
            validate_indices=False,  # an id may stand more than once
        )

    def _side_by_side(self, ids, values):
        """The ids in all tables, which stand one after the other, and the values of these, in the order of the ids."""
        if len(ids) == 1:
            return ids[0], values[0]
        starts = np.cumsum([0, *(shape[0] for shape in self.shapes[:-1])])
        by_row = [pieces.fields(each) for each in (ids, values)]
        if len(by_row[0]) == len(by_row[1]) == 1:
            (ids,), (values,) = by_row
            return tf.reshape(ids + tf.constant(starts, ids.dtype), [-1]), tf.reshape(
                values, [-1, values.shape[-1]]
            )
        sizes = [each.shape[0] for each in ids]
        ids = pieces.stacked(ids)
        return ids + tf.constant(np.repeat(starts, sizes), ids.dtype), self._joined(values)

    def _joined(self, values):
        return pieces.stacked(values)

    def _parts(self, whole):
        parts = pieces.cut(whole, [shape[0] for shape in self.shapes])
        return [_shaped(part, shape) for part, shape in zip(parts, self.shapes)]

    def read(self, variables):
        return self._joined([_as_rows(tf.convert_to_tensor(_raw(v)), v.shape) for v in variables])

    def write(self, variables, values, before):
        # Not `tf.where`, whose mask would have to be as wide as the rows.
        super().write(variables, tf.raw_ops.Select(condition=self.touched, x=values, y=before), before)


class _Rows:
    """The gradient of a table by those of its rows that a batch touched."""

    def __init__(self, gradients, variables):
        gradient = _sum_rows(gradients[0], variables[0].shape)
        self.rows, self.gradient = gradient.indices, tf.cast(gradient.values, variables[0].dtype)

    def read(self, variables):
        return tf.gather(_raw(variables[0]), self.rows)

    def write(self, variables, values, before):
        # Not scatter_sub, which takes ten times as long as scatter_update: that one copies rows.
        _raw(variables[0]).scatter_update(tf.IndexedSlices(values, self.rows))


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
        dense = [v for g, v in zip(grads, variables) if not isinstance(g, tf.IndexedSlices)]
        self._apply_weight_decay(dense)  # a table's touched rows decay in their update
        if replicas.alone():
            return self._update_all(grads, variables)
        # Keras adds up the replicas' gradients after it has clipped them.
        pairs = self._all_reduce_sum_gradients(zip(_sum_tables(grads, variables), variables))
        grads = self._clip_gradients(_sum_tables([g for g, _ in pairs], variables))
        tf.__internal__.distribute.interim.maybe_merge_call(
            self._distributed_tf_update_step,
            self._distribution_strategy,
            list(zip(grads, variables)),
            self.learning_rate,
        )

    def _clip_gradients(self, grads):
        # A norm over summed rows is the norm of the dense gradient, so Keras may clip the rows.
        clipped = super()._clip_gradients([g.values if isinstance(g, tf.IndexedSlices) else g for g in grads])
        return [
            _SummedRows(c, g.indices, g.dense_shape) if isinstance(g, tf.IndexedSlices) else c
            for g, c in zip(grads, clipped)
        ]

    def _update_all(self, gradients, variables):
        """Small variables side by side, in a few operations for all of them; large ones each by itself.

        On a GPU XLA compiles the updates of whole variables into a few kernels.
        """
        compiled = replicas.on_gpu() and xla.usable()
        clips = bool(self.clipnorm or self.global_clipnorm or self.clipvalue)  # then each has its own norm
        members: dict[tuple, tuple[list, list]] = {}
        for number, (gradient, variable) in enumerate(zip(gradients, variables)):
            form, dtype, shape = self._form(gradient, variable), variable.dtype, variable.shape
            alike = (shape[1:].num_elements(), self._decays(variable)) if form is _Tables else ()
            if form is _Tables:
                alone = not pieces.small(variable, gradient.indices.shape[0])
            else:
                alone = compiled or form is _Rows or shape.num_elements() >= pieces.LARGE
            of = members.setdefault((form, dtype, *alike, number if alone or clips else None), ([], []))
            of[0].append(gradient)
            of[1].append(variable)
        groups = [form(*of) for (form, *_), of in members.items()]
        rates = {dtype: tf.cast(self.learning_rate, dtype) for dtype in {v.dtype for v in variables}}
        scaled = {dtype: self._scaled(rate) for dtype, rate in rates.items()}
        clipped = self._clip_gradients([group.gradient for group in groups])
        updates = []
        for (key, (_, owners)), group, gradient in zip(members.items(), groups, clipped):
            group.gradient = gradient
            update = functools.partial(self._update, group, owners, rates[key[1]], scaled[key[1]])
            if compiled and key[0] is not _Rows:
                updates.append(update)
            else:
                update()
        if updates:
            tf.function(lambda: [update() for update in updates], jit_compile=True, autograph=False)()

    @staticmethod
    def _form(gradient, variable) -> type:
        if not isinstance(gradient, tf.IndexedSlices):
            return _Dense
        ids = None if isinstance(gradient, _SummedRows) else gradient.indices.shape[0]
        return _Tables if pieces.reads_all(variable, ids) else _Rows

    def _decays(self, variable) -> bool:
        return self.weight_decay is not None and self._use_weight_decay(variable)

    def _update(self, group, variables, rate, scaled):
        slots = list(zip(*(self._slots(self._get_variable_index(v)) for v in variables)))
        values = [group.read(of_all) for of_all in slots]
        step, after = self._step(group.gradient, values, scaled)
        for of_all, now, before in zip(slots, after, values):
            group.write(of_all, now, before)
        if type(group) is _Dense:
            return group.subtract(variables, step)
        before = group.read(variables)
        if self._decays(variables[0]):
            step += before * tf.cast(self.weight_decay, before.dtype) * rate
        group.write(variables, before - step, before)

    def update_step(self, gradient, variable, learning_rate):
        if not isinstance(gradient, tf.IndexedSlices):
            return super().update_step(gradient, variable, learning_rate)
        rate = tf.cast(learning_rate, variable.dtype)
        self._update(_Rows([gradient], [variable]), [variable], rate, self._scaled(rate))

    def _scaled(self, rate):
        """The factor of a step, once for all variables."""
        return rate

    def _slots(self, index) -> list[keras.Variable]:
        """What is remembered of the variable number `index`."""
        raise NotImplementedError

    def _step(self, gradient, slots, rate):
        """What is to be subtracted, and the slots' new values."""
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

    def _scaled(self, rate):
        t, one = tf.cast(self.iterations + 1, rate.dtype), tf.ones((), rate.dtype)
        return rate * tf.sqrt(one - tf.pow(self.beta_2 * one, t)) / (one - tf.pow(self.beta_1 * one, t))

    def _slots(self, index):
        largest = [self._velocity_hats[index]] if self.amsgrad else []
        return [self._momentums[index], self._velocities[index], *largest]

    def _step(self, gradient, slots, rate):
        m, v, *largest = slots
        m += (gradient - m) * (1 - self.beta_1)
        v += (tf.square(gradient) - v) * (1 - self.beta_2)
        after = [m, v, *(tf.maximum(each, v) for each in largest)]
        return m * rate / (tf.sqrt(after[-1]) + self.epsilon), after


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

    def _slots(self, index):
        return [self._accumulators[index]]

    def _step(self, gradient, slots, rate):
        accumulator = slots[0] + tf.square(gradient)
        return rate * gradient / tf.sqrt(accumulator + self.epsilon), [accumulator]


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

    def _slots(self, index):
        return [self.momentums[index]] if self.momentum else []

    def _step(self, gradient, slots, rate):
        if not self.momentum:
            return rate * gradient, []
        m = self.momentum * slots[0] - rate * gradient
        return rate * gradient - self.momentum * m if self.nesterov else -m, [m]


@keras.saving.register_keras_serializable(package="cdrzoo")
class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """Keras's loss scaling for float16, which skips a step with a gradient that is not finite; here of tables, too.

    Of a row that stands several times in a batch Keras looks at the last gradient alone, so that an overflow in another
    one reaches the table; and it looks at every row of the table. `CrossDomainModel.compile` uses this one.

    Args: those of `keras.optimizers.LossScaleOptimizer`.
    """

    def check_finite(self, grads):
        return super().check_finite([g.values if isinstance(g, tf.IndexedSlices) else g for g in grads])
