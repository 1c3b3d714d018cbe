"""CoNet: networks of the domains, each of whose layers also reads the other's last one through a shared matrix."""

from __future__ import annotations

import itertools

import keras
from keras import ops
from typing_extensions import Unpack

from cdrzoo.errors import InputError, shown
from cdrzoo.layers import RowVectors
from cdrzoo.layers.pairs import crossed, step, user_keys
from cdrzoo.layers.towers import towers
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units


@keras.saving.register_keras_serializable(package="cdrzoo")
class CoNet(CrossDomainModel):
    """Collaborative cross network; with `lasso` sparse CoNet.

        a_T^{l+1} = relu(a_T^l W_T^l + b_T^l + a_S^l H^l)                                            (eqs. 3, 4)
        a_S^{l+1} = relu(a_S^l W_S^l + b_S^l + a_T^l H^l)
        L = L_T + L_S + lambda sum_l |H^l|                                                           (eqs. 7, 9)

    T, S: two domains, each with a tower W, b; in training it reads pairs of rows, which are one user's, and the first
    layers also take what the other tower's layer below says, through a matrix H that both directions share. L_T, L_S:
    the mean cross-entropies. a^0 is the row: all that its domain lists, in the same columns for every domain
    (`SlotConcat`: H^0 takes rows of either), tables that features of several domains name being shared, the users' to
    begin with. Of more than two domains each pair has its H, and a tower adds up what the others say.

    It is trained on paired batches (`prepared.train(..., paired=True)`). A row that is scored has no partner in another
    domain: it goes through its own tower without H, as the authors' code evaluates. The same holds for a batch of one
    domain.

    Where this differs from the paper: one logit in place of a softmax of two classes, which is the same model; weights
    other than H start as everywhere here, not at N(0, 0.01). The subgradient of |H| makes weights small, not zero.

    Args:
        schema: the schema; two or more domains that share the users' table.
        units: hidden layers of each tower; default `(256, 128, 32)`, as `DNN` has them (the paper: 32, 16, 8 behind an
            embedding of 32 for the user and the item each).
        cross_layers: how many layers, from the first, have an H; default 2 (of the paper's 3).
        lasso: lambda; default 0 is CoNet. Sparse CoNet: 0.01 (the authors tried 0.1 and 0.5 as well).
        dropout: share of each hidden layer that is dropped in training; default 0.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`; in training the i-th rows of all domains are one
            user's, which a step asserts.
        training: whether dropout is on, and what the towers say of each other.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<domain>_loss`, and with `lasso` the term `lasso`, lambda included.

    Reference: Hu, Zhang and Yang, CoNet: Collaborative Cross Networks for Cross-Domain Recommendation (CIKM 2018),
    sections 3 and 4, equations 3 to 9.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> model = models.CoNet(prepared.schema, units=(64, 32), lasso=0.01)
        >>> x, y = next(iter(prepared.train(64, paired=True)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        units: Units = (256, 128, 32),
        cross_layers: int = 2,
        lasso: float = 0.0,
        dropout: float = 0.0,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.check_shared_users("CoNet")
        if not 0 < cross_layers <= len(units):
            raise InputError(
                f"`cross_layers` must be from 1 to the number of hidden layers, {len(units)}. "
                f"Received: {shown(cross_layers)}. Without cross connections this is MLP++."
            )
        self.units = units
        self.cross_layers = cross_layers
        self.lasso = lasso
        self.dropout = dropout
        names = [d.name for d in self.schema.domains]
        self.users = user_keys(self.schema)
        self.rows = RowVectors(self.schema)
        self.towers, self.heads = towers(self.schema.domains, units, dropout)
        start = keras.initializers.RandomNormal(stddev=0.01)
        self.cross = {
            f"{one}_{other}_{layer}": keras.layers.Dense(
                units[layer], use_bias=False, kernel_initializer=start, name=f"cross_{one}_{other}_{layer}"
            )
            for one, other in itertools.combinations(names, 2)
            for layer in range(cross_layers)
        }

    def build(self, input_shape=None):
        super().build(input_shape)
        widths = [sum(self.rows.concat.widths.values()) + len(self.towers), *self.units]
        for name, dense in self.cross.items():
            dense.build((None, widths[int(name.rpartition("_")[2])]))

    def call(self, x, training=False):
        a = self.rows(x, training=training)
        connected = crossed(x, training, self.users)
        for layer in range(len(self.units)):
            said = self._said(layer, a) if connected and layer < self.cross_layers else {}
            a = {name: step(self.towers[name], layer, a[name], said.get(name), training) for name in a}
        return self.scores({name: self.heads[name](a[name]) for name in a})

    def _said(self, layer: int, a):
        """What the other towers add to a layer of each, from their activations below it."""
        names = [d.name for d in self.schema.domains if d.name in a]
        said: dict = {}
        for pair in itertools.combinations(names, 2):
            connection = self.cross[f"{pair[0]}_{pair[1]}_{layer}"]
            for one, other in (pair, pair[::-1]):
                heard = connection(a[other])
                said[one] = said[one] + heard if one in said else heard
        return said

    def auxiliary_losses(self, x, y, y_pred, sample_weight, training):
        if not self.lasso:
            return {}
        return {"lasso": self.lasso * sum(ops.sum(ops.abs(h.kernel)) for h in self.cross.values())}
