"""The first stage of Finetune and CTNet: a DNN of the sources that can read the rows of the target."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from typing_extensions import Unpack

from cdrzoo.errors import SchemaError
from cdrzoo.layers import MLP, FeatureEmbedding, FieldVectors, SlotConcat
from cdrzoo.layers.fields import field_widths
from cdrzoo.layers.towers import head
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units, placeholder_rows
from cdrzoo.schema import Schema


@keras.saving.register_keras_serializable(package="cdrzoo")
class SourceDNN(CrossDomainModel):
    """Embedding and MLP, trained on the rows of the sources, for what they have in common with the target.

        h_0 = [e_1 | ... | e_n],   h_l = relu(h_{l-1} W_l + b_l),   y = sigmoid(w h_L + b)

    e_i: the vectors of the target's fields, of a history the mean of its items' embeddings; W_l, b_l: the L hidden
    layers; w, b: the last one. A row of a source fills the fields that it lists under the same name; what it has alone
    is left out, and what the target has alone is zeros in it. The columns of W_1 for the latter start at 0, so they say
    nothing until a second stage trains them. There is one copy of each table (`per_domain` is passed over): a second
    stage goes on with what the source has taught. `fit` takes the sources' rows; rows of any domain can be scored.

    Args:
        schema: the schema; each source lists a feature that the target lists, too.
        units: hidden layers; default `(256, 128, 32)`, those of `DNN`.
        dropout: share of each hidden layer that is dropped in training; default 0.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout is on.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<source>_loss`.

    Reference: Yang, Liu, Su et al., Click-Through Rate Prediction Using Transfer Learning with Fine-Tuned Parameters
    (Information Sciences, 2022), the rival "Finetune" of Zhang et al., A Collaborative Transfer Learning Framework for
    Cross-domain Recommendation (KDD 2023).

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> model = models.SourceDNN(prepared.schema, units=(64, 32))
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        units: Units = (256, 128, 32),
        dropout: float = 0.0,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        if not self.schema.sources:
            raise SchemaError(
                "This first stage learns from a source, but the schema has the target alone. Add a domain."
            )
        self.units = units
        self.dropout = dropout
        self.common = in_the_targets_terms(self.schema)
        self.embedding = FeatureEmbedding(self.common)
        self.fields = {d.name: FieldVectors(self.common, d.name) for d in self.common.domains}
        self.concat = SlotConcat(self.common)
        self.hidden = [MLP((width,), dropout=dropout, name=f"hidden_{i}") for i, width in enumerate(units)]
        self.head = head(self.schema.sources[0])

    @property
    def training_domains(self):
        return tuple(source.name for source in self.schema.sources)

    def build(self, input_shape=None):
        super().build(input_shape)
        target = self.schema.target
        self.logit(target, placeholder_rows(self.schema)[target])
        listed = {f for d in self.common.domains if d.name != target for f in self._fields_of(d)}
        kernel = self.hidden[0].dense[0].kernel if self.hidden else self.head.kernel
        value, first = kernel.numpy(), 0
        for field, width in self._fields_of(self.common.target_domain).items():
            if field not in listed:
                value[first : first + width] = 0.0
            first += width
        kernel.assign(value)

    def _fields_of(self, domain):
        return field_widths(self.common, domain)

    def call(self, x, training=False):
        return self.scores({name: self.logit(name, x[name], training) for name in x})

    def logit(self, domain: str, features, training=False):
        """w h_L + b of the rows of a domain, float32 `[B, 1]`."""
        return self.head(self.states(domain, features, training)[-1])

    def states(self, domain: str, features, training=False) -> list[Any]:
        """h_0, h_1, ..., h_L of the rows of a domain, `[B, width]` each."""
        embedded = self.embedding({domain: features})[domain]
        fields = self.fields[domain](features, embedded, training=training)
        # Every row is read as if it were the target's: none tells its domain.
        states = [self.concat({self.schema.target: fields})[self.schema.target]]
        for layer in self.hidden:
            states.append(layer(states[-1], training=training))
        return states

    def copy(self) -> SourceDNN:
        """A model with the same weights; neither sees what becomes of the other."""
        if not self.built:
            self.build()
        twin = type(self).from_config(self.get_config())
        twin.build()
        twin.set_weights(self.get_weights())
        return twin

    def check_same(self, schema: Schema) -> None:
        """Raises a `SchemaError` if a second stage with this schema could not go on with what was learnt."""
        if schema.domains != self.schema.domains or (schema.target, schema.tables) != (
            self.schema.target,
            self.schema.tables,
        ):
            raise SchemaError(
                "The first stage was trained with another schema. Give both stages the schema of one encoder (with all "
                "domains; the second stage reads the target's rows alone)."
            )


def in_the_targets_terms(schema: Schema) -> Schema:
    """The schema whose sources list what the target lists, in its order, and whose tables are no domain's own."""
    target = schema.target_domain
    domains = []
    for domain in schema.domains:
        known = {f.name for f in domain.features}
        listed = [
            domain.feature(f.name)
            for f in target.features
            if f.name in known
            # Histories of one domain are one field, so all of them or none.
            and (f.role != "history" or {h.name for h in target.histories(f.of)} <= known)
        ]
        if not listed:
            raise SchemaError(
                f"What is learnt from domain {domain.name!r} cannot reach the target {schema.target!r}: they list no "
                "feature of one name. Give what means the same in both (the user) one name."
            )
        domains.append(dataclasses.replace(domain, features=tuple(listed)))
    used = {f.table for domain in domains for f in domain.features}
    tables = tuple(dataclasses.replace(t, per_domain=False) for t in schema.tables if t.name in used)
    return Schema(tuple(domains), schema.target, tables)
