"""CCTL: companion towers that measure what the source is worth, a selector that learns from it, and dual embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from cdrzoo.errors import InputError, SchemaError, check_choice
from cdrzoo.layers import (
    MLP,
    FeatureEmbedding,
    FieldVectors,
    cosine,
    field_roles,
    field_widths,
    head,
    masked_mean,
    note_rows,
    rows_seen,
)
from cdrzoo.losses import row_weights, rows_of, score, weighted_mean
from cdrzoo.models.base import CrossDomainModel, placeholder_rows
from cdrzoo.optimizers import slots
from cdrzoo.schema import PADDING, UNKNOWN, Domain, Feature, Schema

TOKENS = {"user": ("user", "history"), "item": ("item",), "context": ("context",)}
"""The semantic tokens of section 2.4.1, and the roles of the fields each holds: behaviour belongs to the user."""


@keras.saving.register_keras_serializable(package="cdrzoo")
class CompanionTower(keras.layers.Layer):
    """One tower of the symmetric companion network: the target's tables, its attention and f(.; Theta).

    Args:
        schema, units, pooling, dropout: see `CCTL`.
    """

    def __init__(self, schema, units, pooling, dropout, **kwargs):
        super().__init__(**kwargs)
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self.units, self.pooling, self.dropout = tuple(units), pooling, dropout
        self.embedding = FeatureEmbedding(self.schema, [self.schema.target])
        self.fields = FieldVectors(self.schema, self.schema.target, pooling=pooling)
        self.mlp = MLP(units, dropout=dropout)
        self.head = head(self.schema.target_domain, *self.schema.sources)

    def call(self, features, training=False):
        """v^t of eq. 2, token by token, and f(v^t): `[B, 1]`."""
        embedded = self.embedding({self.schema.target: features})[self.schema.target]
        tokens = split_tokens(
            self.fields(features, embedded, training=training), field_roles(self.schema.target_domain)
        )
        return self.read(ops.concatenate(list(tokens.values()), axis=-1), training)

    def read(self, vector, training=False):
        """f(v; Theta): `[B, D_t]` -> `[B, 1]`."""
        return self.head(self.mlp(vector, training=training))

    def get_config(self):
        arguments = {"units": list(self.units), "pooling": self.pooling, "dropout": self.dropout}
        return {**super().get_config(), "schema": self.schema.to_dict(), **arguments}


@keras.saving.register_keras_serializable(package="cdrzoo")
class CCTL(CrossDomainModel):
    """Collaborative Cross-domain Transfer Learning.

    Symmetric companion network (section 2.3). Two towers of one shape, each with its own tables of the target; the
    mixed one also learns from the source, whose rows have tables of their own:

        L_mixed = mean_src(sg[p_i] CE(y_i, f(SAN(v_i^s); mixed))) + L_tgt + w_ren L_ren            (eq. 3)
        L_tgt   = mean_tgt CE(y_i, f(v_i^t; mixed)),   L_pure = mean_tgt CE(y_i, f(v_i^t; pure))   (eq. 4)
        r       = L_pure - L_tgt                                                                   (eq. 5)

    and every `sync_every` steps pure <- mixed. Information flow network (section 2.4): SAN maps the user, item and
    context tokens of a source row to the target's widths (eq. 7); the selector p = sigmoid(MLP(SAN(v^s))) (eq. 8) is
    the row's weight. It learns by reward alone: with Theta the selector's weights, at the end of each window

        Theta <- Theta + alpha sum_k R_k grad mean_i log p_i,   R_k = r_k + gamma r_{k+1} + ...    (eq. 9)

    computed exactly and without keeping the window's batches by the eligibility trace e_k = gamma e_{k-1} + g_k,
    G <- G + r_k e_k (exchange the two sums). Representation enhancement (section 2.5), over ids of both domains and the
    averages of a user's behaviours in the two domains, each in its own domain's table:

        L_ren = cos(id^s, id^t) - cos(seq^s, seq^t)                                               (eqs. 10-12)

    An id counts from the step on in which both domains have shown it: a vocabulary also knows users of one domain
    alone, whose row in the other's table nothing else trains. So the ids that count become more during the first epoch,
    as they should: before, one of the two rows is a random start, and there is nothing to keep the other apart from.
    What has been seen is saved with the model.

    `call` scores the target with the mixed tower, because that is what a synchronisation turns the pure tower into and
    what is served; an export synchronises and holds the pure tower alone.

    Read the reward with care. r_k is measured before step k's update, so it says what *earlier* source batches did;
    the first r after a synchronisation is 0. It is one number a batch: rows of one batch are told apart only by what
    else they have in common with good batches. Eq. 9 with a continuous weight is no score function of a sampled
    action: r > 0 drives p to 1, r < 0 to 0. `selector_mode="bernoulli"` is the textbook form.

    Where the paper is silent or cannot be taken literally: sums over a batch are means, so that r does not depend on
    the batch size; p is a constant in L_mixed, or minimising it would drive p to 0; the selector reads a constant,
    SAN learns from L_mixed; the towers start alike and Adam's moments are synchronised too, or r would measure the
    start and the moments; with several sources their losses add up, each with its own SAN, with one selector; a token
    that the source lacks is zeros, and features of a source whose token the target lacks (a context, say) are not read
    and get no table. Options that this project leaves out: tables shared by the towers, through which the source would
    reach the pure one; a synchronisation without moments, after which r would measure them; a start of the selector
    other than p = 0.5 (its bias at 0), because the reward is there to move it.

    Args:
        schema: the schema; two or more domains. REN compares the ids of users and items where target and source share
            their table, and behaviours where a row lists histories of both domains.
        units: hidden layers of a tower; default `(256, 128, 32)` (section 3.1.3).
        pooling: how a tower reads histories, `"attention"` (DIN; default) or `"mean"`.
        align: `False` leaves SAN out (section 2.4.1, for domains whose features have the same names and widths).
        selector_units: hidden layers of the selector; default `(64, 32)`.
        selector_mode: `"log_weight"` (eq. 9; default), `"bernoulli"` (rows are drawn with probability p) or `"none"`
            (p = 1: the ablation without IFN).
        selector_learning_rate: of the selector's Adam; default 0.001.
        alpha: multiplies it, in [0, 1]; default 1. 0: the selector never moves (Figure 5b).
        gamma: discount of the reward; default 0.8 (section 2.4.2).
        sync_every: steps between synchronisations, and of the selector's window; default 1000 (section 2.3.5). Choose
            it well below the number of steps of an epoch.
        reward_norm: `"none"` (default), `"ema"` (minus a running mean, over a running deviation; advised on small data:
            without a baseline only the sign of the accumulated reward matters to Adam) or `"std"` (the latter alone).
        reward_clip: the reward is cut to this magnitude; default 1.
        ren_weight: w_ren; default 1 ("added"). 0: the ablation without REN.
        dropout: of the towers' hidden layers; default 0. Both towers drop the same units.

    Call arguments and returns: see `CrossDomainModel`. Source rows are scored by the mixed tower too.

    Logged while training: `<target>_loss` (L_tgt), `<source>_loss` (weighted), `pure_loss`, `ren_loss`, `reward` and
    `selector` (mean p).

    Reference: Zhang et al., A Collaborative Transfer Learning Framework for Cross-domain Recommendation (KDD 2023).
    """

    def __init__(
        self,
        schema,
        units=(256, 128, 32),
        pooling="attention",
        align=True,
        selector_units=(64, 32),
        selector_mode="log_weight",
        selector_learning_rate=0.001,
        alpha=1.0,
        gamma=0.8,
        sync_every=1000,
        reward_norm="none",
        reward_clip=1.0,
        ren_weight=1.0,
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(schema, **kwargs)
        check_choice("`selector_mode`", selector_mode, ("log_weight", "bernoulli", "none"))
        check_choice("`reward_norm`", reward_norm, ("none", "ema", "std"))
        if sync_every < 1:
            raise InputError(f"`sync_every` must be at least 1 step. Received: {sync_every}.")
        for name, value in (("alpha", alpha), ("gamma", gamma)):
            if not 0 <= value <= 1:
                raise InputError(f"`{name}` must lie in [0, 1]. Received: {value}.")
        if not self.schema.sources:
            raise SchemaError(
                "CCTL transfers from a source, but the schema has the target alone. Add a domain."
            )
        self.units = units
        self.pooling = pooling
        self.align = align
        self.selector_units = selector_units
        self.selector_mode = selector_mode
        self.selector_learning_rate = selector_learning_rate
        self.alpha = alpha
        self.gamma = gamma
        self.sync_every = sync_every
        self.reward_norm = reward_norm
        self.reward_clip = reward_clip
        self.ren_weight = ren_weight
        self.dropout = dropout

        sources = [source.name for source in self.schema.sources]
        self.mixed = CompanionTower(self.schema, units, pooling, dropout, name="mixed")
        self.pure = CompanionTower(self.schema, units, pooling, dropout, name="pure")
        read = without_lost_tokens(self.schema)
        self.source_embedding = {s: FeatureEmbedding(read, [s], name=f"{s}_embedding") for s in sources}
        self.source_fields = {s: FieldVectors(read, s, pooling=pooling, name=f"{s}_fields") for s in sources}
        self.token_widths = token_widths(self.schema, self.schema.target)
        # Flat, `<source>_<token>`: Keras before 3.15 leaves layers in nested dictionaries out of what it saves.
        self.san = (
            {key: layer for s in sources for key, layer in self._semantic_align(s).items()} if align else {}
        )
        self.selector = keras.Sequential(
            [keras.layers.Dense(n, activation="relu") for n in selector_units]
            + [keras.layers.Dense(1, activation="sigmoid", dtype="float32")],
            name="selector",
        )
        self._draws = keras.random.SeedGenerator()
        self._pairs = {s: ren_pairs(read, s) for s in sources} if ren_weight else {}
        if ren_weight and not any(pair["id"] or pair["sequence"] for pair in self._pairs.values()):
            raise SchemaError(
                "REN has nothing to compare: no user feature of the target shares its table with a source, and no row "
                "lists histories of both domains. Add one, or set ren_weight=0."
            )

        same = field_widths(self.schema, self.schema.target_domain)
        for source in [] if align else sources:
            if field_widths(self.schema, self.schema.domain(source)) != same:
                raise SchemaError(
                    f"align=False reads the rows of {source!r} as rows of {self.schema.target!r}; the fields differ. "
                    "List features of the same names and widths, or leave `align` on."
                )

    def _semantic_align(self, source: str) -> dict[str, keras.layers.Layer]:
        present = token_widths(self.schema, source)
        return {
            f"{source}_{token}": keras.Sequential(
                [keras.layers.Dense(width, activation="relu"), keras.layers.Dense(width)],
                name=f"{source}_{token}_san",
            )
            for token, width in self.token_widths.items()
            if token in present
        }

    def build(self, input_shape=None):
        super().build(input_shape)
        self.pure(placeholder_rows(self.schema)[self.schema.target])
        self.selector.build((None, sum(self.token_widths.values())))
        state = {"trainable": False, "initializer": "zeros", "dtype": "float32", "autocast": False}
        self._trace = [
            self.add_weight(shape=v.shape, name=f"trace_{i}", **state) for i, v in enumerate(self._theta)
        ]
        self._gain = [
            self.add_weight(shape=v.shape, name=f"gain_{i}", **state) for i, v in enumerate(self._theta)
        ]
        self._reward_mean = self.add_weight(shape=(), name="reward_mean", **state)
        self._reward_variance = self.add_weight(shape=(), name="reward_variance", **state)
        self._step = self.add_weight(shape=(), name="step", **{**state, "dtype": "int32"})
        compared = {table for pairs in self._pairs.values() for _, table, _ in pairs["id"]}
        self._seen = {
            d.name: {
                table: self.add_weight(
                    shape=(self.schema.table(table).rows,),
                    name=f"{d.name}_{table}_seen",
                    **{**state, "dtype": "bool"},
                )
                for table in sorted(compared & {f.table for f in _keys(d)})
            }
            for d in self.schema.domains
        }
        self._copy_towers()  # the towers start alike, or the first rewards would measure their random starts

    def call(self, x, training=False):
        logits = {}
        for name in x:
            if name == self.schema.target:
                logits[name] = self.mixed(x[name], training=training)
            else:
                logits[name] = self.mixed.read(self._aligned(name, x[name], training), training)
        return self.scores(logits)

    def _aligned(self, source: str, features: Mapping[str, Any], training=False):
        """SAN(v^s): the source's rows as the target's tower reads them, `[B, D_t]` (eq. 7)."""
        domain = self.schema.domain(source)
        embedded = self.source_embedding[source]({source: features})[source]
        fields = self.source_fields[source](features, embedded, training=training)
        if not self.align:  # the same fields, in the target's order
            roles = field_roles(self.schema.target_domain)
            return ops.concatenate(
                list(split_tokens({name: fields[name] for name in roles}, roles).values()), axis=-1
            )
        tokens = split_tokens(fields, field_roles(domain))
        zero = ops.zeros_like(next(iter(tokens.values()))[:, :1])
        return ops.concatenate(
            [
                # A token that the source has no feature of carries nothing.
                self.san[f"{source}_{token}"](tokens[token])
                if token in tokens
                else ops.tile(zero, (1, width))
                for token, width in self.token_widths.items()
            ],
            axis=-1,
        )

    def selector_weights(self, x) -> dict[str, Any]:
        """The selector's p for source rows: `{source: float32 [B]}`, for every source in `x` (Figure 5a)."""
        return {s: self._weights(self._aligned(s, x[s])) for s in x if s != self.schema.target}

    def _weights(self, aligned):
        if self.selector_mode == "none":
            return ops.ones_like(ops.cast(aligned[:, 0], "float32"))
        return self.selector(ops.stop_gradient(aligned))[:, 0]

    # Training ---------------------------------------------------------------------------------------------------

    def compile(self, optimizer="adam", **kwargs):
        if self.distribute_strategy.num_replicas_in_sync > 1:
            raise InputError(
                "CCTL trains on one device: its synchronisation is no step that replicas can share. Received a "
                f"strategy of {self.distribute_strategy.num_replicas_in_sync} replicas. Build the model outside it."
            )
        super().compile(optimizer=optimizer, **kwargs)
        own: Any = self.optimizer
        if getattr(own, "inner_optimizer", own).global_clipnorm is not None:
            raise InputError(
                "`global_clipnorm` would scale the pure tower's gradients by the source's, and the reward would not "
                "compare like with like. Use `clipnorm`, which is by variable, or `clipvalue`."
            )
        self.selector_optimizer = keras.optimizers.Adam(self.alpha * self.selector_learning_rate)
        self.selector_optimizer.build(self._theta)

    @property
    def _theta(self) -> list[keras.Variable]:
        return self.selector.trainable_variables if self.selector_mode != "none" else []

    @property
    def optimized_variables(self):
        reward_only = {id(v) for v in self.selector.trainable_variables}
        return [v for v in self.trainable_variables if id(v) not in reward_only]

    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        target, given = self.schema.target, row_weights(y, sample_weight)
        absent = [d.name for d in self.schema.domains if d.name not in x or d.name not in y]
        if absent:
            raise InputError(f"CCTL trains on rows of every domain, but the batches lack {absent[0]!r}.")
        self._share_draws()
        self._note(x, given)
        with tf.GradientTape() as tape:
            logits = {target: self.mixed(x[target], training=True)}
            aligned = {
                source: self._aligned(source, x[source], training=True) for source in self.source_embedding
            }
            logits.update({source: self.mixed.read(rows, training=True) for source, rows in aligned.items()})
            with tf.GradientTape(watch_accessed_variables=False) as score_tape:
                score_tape.watch([v.value for v in self._theta])
                chosen = {source: self._weights(rows) for source, rows in aligned.items()}
                taken = {source: self._choose(p) for source, p in chosen.items()}
                log_score = sum([weighted_mean(log_p, given[source]) for source, (_, log_p) in taken.items()])
            weights = dict(sample_weight or {})
            for source, (weight, _) in taken.items():
                weights[source] = ops.stop_gradient(weight) * given[source]
            y_pred = self.scores(logits)
            losses = self.domain_losses(y, y_pred, weights)
            pure = score(self.pure(x[target], training=True), self.schema.target_domain.task)
            pure_loss = self.domain_losses({target: y[target]}, {target: pure}, sample_weight)[target]
            ren = self._representation_loss(x, given)
            mixed_loss = (
                sum([self._terms.weights[d] * loss for d, loss in losses.items()]) + self.ren_weight * ren
            )
            # The towers share no variable, so one optimizer step on the sum is a step on each of the two losses.
            total = mixed_loss + self._terms.weights[target] * pure_loss + sum(self.losses)
            scaled = self.optimizer.scale_loss(total)
        variables = self.optimized_variables
        self.optimizer.apply_gradients(zip(tape.gradient(scaled, variables), variables))
        reward = ops.stop_gradient(pure_loss - losses[target])
        if self._theta:
            gradients = score_tape.gradient(log_score, [v.value for v in self._theta])
            self._accumulate(gradients, self._normalised(reward))
        self._step.assign_add(1)
        tf.cond(tf.equal(self._step.value % self.sync_every, 0), self._end_window, lambda: None)

        rows = rows_of(y)
        self._loss_tracker.update_state(mixed_loss, sample_weight=rows[target])
        selector = sum([weighted_mean(p, given[source]) for source, p in chosen.items()]) / len(chosen)
        terms = {"pure_loss": pure_loss, "ren_loss": ren, "reward": reward, "selector": selector}
        self.report(losses, terms, rows)
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def _share_draws(self) -> None:
        """The towers drop the same units of the same rows: what tells them apart is the source alone."""
        weights = {id(v) for v in self.mixed.weights}
        for mixed, pure in zip(self.mixed.variables, self.pure.variables):
            if id(mixed) not in weights:
                pure.assign(mixed)

    def _choose(self, p):
        """The weight of each source row in L_mixed, and the score whose expected gradient the reward multiplies."""
        clipped = ops.clip(p, 1e-6, 1 - 1e-6)
        if self.selector_mode != "bernoulli":
            return p, ops.log(clipped)
        taken = ops.cast(keras.random.uniform(ops.shape(p), seed=self._draws) < p, "float32")
        return taken, taken * ops.log(clipped) + (1 - taken) * ops.log(1 - clipped)

    def _accumulate(self, gradients, reward) -> None:
        for trace, gain, gradient in zip(self._trace, self._gain, gradients):
            trace.assign(self.gamma * trace + gradient)
            gain.assign_add(reward * trace)

    def _normalised(self, reward, momentum: float = 0.99):
        if self.reward_norm != "none":
            delta = reward - self._reward_mean
            # Exponential moving moments; the mean that is subtracted is the one from before this step.
            self._reward_mean.assign_add((1 - momentum) * delta)
            self._reward_variance.assign(
                momentum * (self._reward_variance + (1 - momentum) * ops.square(delta))
            )
            reward = (delta if self.reward_norm == "ema" else reward) / (
                ops.sqrt(self._reward_variance) + 1e-8
            )
        return ops.clip(reward, -self.reward_clip, self.reward_clip)

    def _end_window(self) -> None:
        if self._theta:
            ascent = [-gain / self.sync_every for gain in self._gain]
            self.selector_optimizer.apply_gradients(zip(ascent, self._theta))
            for state in (*self._trace, *self._gain):
                state.assign(ops.zeros_like(state))
        self.synchronise()

    def synchronise(self) -> None:
        """pure <- mixed: every weight of the target's side, with the optimizer's moments (section 2.3.5)."""
        self._copy_towers()
        if not self.compiled:
            return
        for mixed, pure in zip(self.mixed.trainable_variables, self.pure.trainable_variables):
            for one, other in zip(slots(self.optimizer, mixed), slots(self.optimizer, pure)):
                other.assign(one)

    def _copy_towers(self) -> None:
        for mixed, pure in zip(self.mixed.variables, self.pure.variables):
            pure.assign(mixed)

    def _note(self, x, weights) -> None:
        """Remembers which users and items the domains have trained; rows of weight 0 train none."""
        for domain, seen in self._seen.items():
            for f in _keys(self.schema.domain(domain)):
                if f.table in seen:
                    note_rows(seen[f.table], ops.where(weights[domain] > 0, x[domain][f.name], PADDING))

    def _representation_loss(self, x, weights):
        """L_ren over every row of which both sides are trained; 0 if there is none. `weights`: see `row_weights`."""
        if not self.ren_weight:
            return ops.zeros(())
        ids, sequences = [], []
        for source, pairs in self._pairs.items():
            own, other = self.source_embedding[source], self.mixed.embedding
            for row, table, name in pairs["id"]:
                keys = x[row][name]
                seen = [rows_seen(self._seen[d][table], keys) for d in (source, self.schema.target)]
                known = ops.logical_and(ops.greater(keys, UNKNOWN), ops.logical_and(*seen))
                similarity = cosine(own.lookup(table, keys), other.lookup(table, keys))
                ids.append((similarity, weights[row] * ops.cast(known, "float32")))
            for row, (source_table, source_name), (target_table, target_name) in pairs["sequence"]:
                one, two = (
                    ops.not_equal(x[row][source_name], PADDING),
                    ops.not_equal(x[row][target_name], PADDING),
                )
                left = masked_mean(own.lookup(source_table, x[row][source_name]), one)
                right = masked_mean(other.lookup(target_table, x[row][target_name]), two)
                known = ops.logical_and(ops.any(one, -1), ops.any(two, -1))
                sequences.append((cosine(left, right), weights[row] * ops.cast(known, "float32")))
        return _mean_of(ids) - _mean_of(sequences)

    # Serving ----------------------------------------------------------------------------------------------------

    def prepare_export(self):
        """The final synchronisation: what is served is the pure tower (section 3.4)."""
        self.synchronise()

    def serve(self, features):
        logit = self.pure(features, training=False)
        return ops.squeeze(score(logit, self.schema.target_domain.task), axis=-1)


def split_tokens(fields: Mapping[str, Any], roles: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a row as semantic tokens, `{token: [B, width]}`; a token without a field is left out (eq. 6)."""
    tokens = {}
    for token, held in TOKENS.items():
        parts = [vector for name, vector in fields.items() if roles[name] in held]
        if parts:
            tokens[token] = ops.concatenate(parts, axis=-1)
    return tokens


def token_widths(schema: Schema, domain: str) -> dict[str, int]:
    """`{token: width}` of a domain's rows; a token without a field is left out."""
    roles, widths = field_roles(schema.domain(domain)), field_widths(schema, schema.domain(domain))
    tokens = {token: sum(widths[f] for f in roles if roles[f] in held) for token, held in TOKENS.items()}
    return {token: width for token, width in tokens.items() if width}


def without_lost_tokens(schema: Schema) -> Schema:
    """The schema without features of sources whose token the target lacks: there is nothing to align them with."""
    held = {role for token in token_widths(schema, schema.target) for role in TOKENS[token]}
    read = {d.name: [f for f in d.features if f.role in held] for d in schema.sources}
    empty = [name for name, features in read.items() if not features]
    if empty:
        raise SchemaError(
            f"CCTL aligns users with users, items with items and contexts with contexts, but {empty[0]!r} lists "
            f"nothing of what {schema.target!r} has. Add a feature of one of its roles: {', '.join(sorted(held))}."
        )
    return schema.reading(read)


def ren_pairs(schema: Schema, source: str) -> dict[str, list]:
    """What REN can compare between the target and `source`, read off the schema.

    Returns:
        `id`: `(domain of the row, table, feature)` for the keys of users and items whose table both domains look up.
        `sequence`: `(domain of the row, (table, feature) of the source's history, (table, feature) of the target's)`,
        one for each domain whose rows list histories of both; each is the history of the item's id.
    """
    target = schema.target_domain
    both = {f.table for f in _keys(target)} & {f.table for f in _keys(schema.domain(source))}
    pairs: dict[str, list] = {"id": [], "sequence": []}
    for row in (target, schema.domain(source)):
        pairs["id"] += [(row.name, f.table, f.name) for f in _keys(row) if f.table in both]
        one, two = (_item_history(schema, row, of) for of in (source, target.name))
        if one and two:
            if schema.table(one[0]).width != schema.table(two[0]).width:
                raise SchemaError(
                    f"REN compares {one[1]!r} and {two[1]!r}, whose tables are {schema.table(one[0]).width} and "
                    f"{schema.table(two[0]).width} wide. Give the two tables one width, or set ren_weight=0."
                )
            pairs["sequence"].append((row.name, one, two))
    return pairs


def _keys(domain: Domain) -> list[Feature]:
    """The features that identify a row's user and item."""
    return [f for f in domain.features if f.kind == "id" and f.column in (domain.user, domain.item)]


def _item_history(schema: Schema, row: Domain, of: str) -> tuple[str, str] | None:
    """`(table, feature)` of the items of domain `of` that `row` lists, if `of` itself looks up their table."""
    tables = {f.table for f in schema.domain(of).features}
    listed = [f for f in row.histories(of) if f.field == schema.domain(of).item and f.table in tables]
    return (listed[0].table, listed[0].name) if listed else None


def _mean_of(parts):
    if not parts:
        return ops.zeros(())
    return weighted_mean(*(ops.concatenate(part) for part in zip(*parts)))
