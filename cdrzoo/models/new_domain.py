"""A new domain on a trained model: everything is kept, and the new domain's own part alone is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras

from cdrzoo.errors import SchemaError, check_choice
from cdrzoo.models.base import CrossDomainModel
from cdrzoo.schema import Schema


class Extensible(CrossDomainModel):
    """A model that scores its `targets`, each of which has a view of its own, and to which one more can be added.

    `read` holds the features that are read of each target's rows, `features_of(domain)` says them of any domain's;
    `views`, by target, have an `attention(sequence)` for each of their `sequences`; `embedding`, `encoder`, `mlp` and
    `head` are common to all. `finetune` names the target whose own part alone is trained, or is `None`.

    Reference: Luo et al., Domain-Aware Cross-Attention for Cross-Domain Recommendation (ICASSP 2024), section 3.5.
    """

    def build(self, input_shape=None):
        super().build(input_shape)
        if self.finetune is not None:
            train_alone(self, self.finetune)

    @property
    def training_domains(self):
        return self.targets

    @property
    def serving_features(self):
        return self.read[self.schema.target]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        # A batch may hold labels of other domains, which this model does not predict.
        y = {name: y[name] for name in y if name in y_pred}
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    @classmethod
    def for_new_domain(
        cls, trained: Extensible, schema: Schema | Mapping[str, Any], like: str | None = None
    ) -> Extensible:
        """A model that also scores a domain that did not exist when `trained` was trained (DACDR, section 3.5).

        It holds a copy of everything in `trained`, frozen, and for the new domain a vector, projections (copies of
        those of the domain `like`) and the tables that nobody else reads. Only the latter are trained, by plain
        `compile` and `fit`; the old domains' scores stay what they were, to the bit. `trained` is not touched.

        Args:
            trained: a trained model.
            schema: the schema of `trained` with the new domain added to it and named as its target, of the encoder that
                `cdrzoo.data.extend` makes. The new domain lists no history, item or context feature under a name that
                `trained` does not know, and no history whose table no trained target reads.
            like: the target whose projections the new ones start from; default: the schema's target of `trained`.

        Raises:
            SchemaError: when the new domain does not fit the trained model.
        """
        schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        return extended(trained, schema, like or trained.schema.target)

    @property
    def trained_parameters(self) -> int:
        """How many numbers `fit` changes; of a fine-tuned model those of the new domain alone."""
        if not self.built:
            self.build()
        return sum(math.prod(variable.shape) for variable in self.trainable_variables)


def extended(trained: Any, schema: Schema, like: str) -> Any:
    """A copy of a trained model that also scores the schema's target, which `trained` does not know."""
    check_choice("`like`", like, trained.targets)
    _check(trained, schema, like)
    new = schema.target
    config = {**trained.get_config(), "schema": schema.to_dict(), "name": None}
    model = type(trained).from_config({**config, "targets": [*trained.targets, new], "finetune": new})
    for one in (trained, model):
        if not one.built:
            one.build()
    for part in ("encoder", "mlp", "head"):
        _copy(getattr(trained, part), getattr(model, part))
    for name in trained.targets:
        _copy(trained.views[name], model.views[name])
        for f in trained.read[name]:
            if f.table:
                model.embedding.table(f.table, name).assign(trained.embedding.table(f.table, name))
    owned = {f.table for f in trained.read[like] if f.table}
    for f in model.read[new]:  # a table that each domain owns starts as the like domain's
        if f.table in owned and schema.table(f.table).per_domain:
            model.embedding.table(f.table, new).assign(trained.embedding.table(f.table, like))
    for sequence in model.views[new].sequences:
        donor = next(d for d in (like, *trained.targets) if sequence in trained.views[d].sequences)
        _copy(trained.views[donor].attention(sequence), model.views[new].attention(sequence))
    return model


def train_alone(model: Any, target: str) -> None:
    """Freezes all but one target's own: its view, and tables that its item and context features alone read."""
    readers: dict[int, set[tuple[str, bool]]] = {}
    tables: dict[int, keras.Variable] = {}
    for name, features in model.read.items():
        for f in features:
            if f.table:
                table = model.embedding.table(f.table, name)
                tables[id(table)] = table
                readers.setdefault(id(table), set()).add((name, f.role == "history"))
    own = [table for key, table in tables.items() if readers[key] == {(target, False)}]
    trained = {id(variable) for variable in (*model.views[target].trainable_variables, *own)}
    for variable in model.trainable_variables:
        variable.trainable = id(variable) in trained


def _check(trained: Any, schema: Schema, like: str) -> None:
    new = schema.target
    if new in [d.name for d in trained.schema.domains]:
        raise SchemaError(
            f"The schema's target {new!r} is no new domain: the trained model's schema has it. Add the new domain and "
            "name it as the target."
        )
    for domain in trained.schema.domains:
        if domain not in schema.domains:
            raise SchemaError(
                f"The schema must hold domain {domain.name!r} as the trained model knows it. Add the new domain to the "
                "trained model's schema and leave the rest as it is."
            )
    for table in trained.schema.tables:
        if table not in schema.tables:
            raise SchemaError(
                f"Table {table.name!r} must stay what it was when the model was trained: {table.rows} rows, "
                f"{table.width} wide. Give it that width, and keep its vocabulary: make the encoder with "
                "`cdrzoo.data.extend`."
            )
    known = {f.name for read in trained.read.values() for f in read}
    for f in trained.features_of(schema.target_domain):
        if f.name not in known:
            raise SchemaError(
                f"The trained model has no columns for {f.role} feature {f.name!r} of domain {new!r}. It knows: "
                f"{', '.join(sorted(known))}. Give the feature one of these names if it means the same, or leave it "
                "out."
            )
        # A table that each domain owns starts as the like domain's.
        donors = [like] if f.table and schema.table(f.table).per_domain else trained.targets
        tables = sorted({g.table for name in donors for g in trained.read[name] if g.table})
        if f.role == "history" and f.table not in tables:
            raise SchemaError(
                f"History {f.name!r} of domain {new!r} looks up table {f.table!r}, which the trained model has not "
                "trained and which stays frozen: its rows would be random for ever. Let it look up one of "
                f"{', '.join(tables)}, or leave the history out."
            )


def _copy(one: keras.layers.Layer, other: keras.layers.Layer) -> None:
    for variable, value in zip(other.variables, one.variables):
        variable.assign(value)
