"""The models' parts once more, in plain NumPy and float64, written from the formulas of the papers."""

from __future__ import annotations

import itertools

import numpy as np


def array(value) -> np.ndarray:
    value = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    return value if value.dtype.kind in "iub" else value.astype("float64")


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def cross_entropy(labels, z):
    """max(z, 0) - z y + log(1 + exp(-|z|))"""
    return np.maximum(z, 0) - z * labels + np.log1p(np.exp(-np.abs(z)))


def dense(layer, x):
    out = x @ array(layer.kernel)
    return out if layer.bias is None else out + array(layer.bias)


def dice(layer, s, mask, training):
    """p(s) s + (1 - p(s)) alpha s, p = sigmoid((s - E[s]) / sqrt(Var[s] + 1e-8)); over the valid steps."""
    if training:
        valid = s[mask]
        mean, variance = valid.mean(axis=0), valid.var(axis=0)
    else:
        mean, variance = array(layer.moving_mean), array(layer.moving_variance)
    p = sigmoid((s - mean) / np.sqrt(variance + 1e-8))
    return p * s + (1 - p) * array(layer.alpha) * s


def attention(layer, query, keys, mask, training=False):
    """a_j = MLP([q, k_j, q - k_j, q * k_j, further columns of k_j]), out = sum_j a_j k_j; no softmax."""
    width = query.shape[-1]
    q = np.repeat(query[:, None], keys.shape[1], axis=1)
    k, further = keys[..., :width], keys[..., width:]
    h = np.concatenate([q, k, q - k, q * k, further], axis=-1) @ array(layer.kernel) + array(layer.bias)
    for index, activation in enumerate(layer.activations):
        h = dice(activation, h, mask, training) if hasattr(activation, "alpha") else np.maximum(h, 0)
        if index < len(layer.hidden):
            h = dense(layer.hidden[index], h)
    weights = dense(layer.score, h)[..., 0] * mask
    return (weights[..., None] * keys).sum(axis=1)


def mean(values, mask):
    """Mean over the valid steps, row by row; zeros where there is none."""
    return np.stack([v[m].mean(axis=0) if m.any() else np.zeros(v.shape[-1]) for v, m in zip(values, mask)])


PARTNERS = {"seen": "item", "genres": "genre", "stars": None}
"""What a history of the toy schema is compared with: `books_seen` with the candidate's `item`, and so on."""


def fields(layer, tables, rows, training=False) -> dict[str, np.ndarray]:
    """The fields of a toy domain's rows. `layer`: the `FieldVectors` whose attention is taken, `tables`: by name."""
    out: dict[str, np.ndarray] = {}
    domain = layer.schema.domain(layer.domain)
    ids = {f.name: array(rows[f.name]) for f in domain.features}
    look = {f.name: array(tables[f.table])[ids[f.name]] for f in domain.features if f.table}
    for feature in domain.features:
        if feature.kind == "number":
            out[feature.name] = ids[feature.name][:, None]
        elif feature.kind == "id":
            out[feature.name] = look[feature.name]
        elif feature.role != "history":
            out[feature.name] = mean(look[feature.name], ids[feature.name] != 0)
        elif f"history_{feature.of}" not in out:
            listed = [f.name for f in domain.histories(feature.of)]
            listed.sort(key=lambda name: PARTNERS[name.split("_")[1]] is None)
            mask = np.any([ids[name] != 0 for name in listed], axis=0)
            keys = np.concatenate([look[name] for name in listed], axis=-1)
            if layer.pooling == "mean":
                pooled = mean(keys, mask)
            else:
                partners = [PARTNERS[name.split("_")[1]] for name in listed]
                query = np.concatenate([look[p] for p in partners if p], axis=-1)
                pooled = attention(layer.attentions[feature.of], query, keys, mask, training)
            out[f"history_{feature.of}"] = pooled
    return out


def stack(layer, embedding, name, rows):
    """The fields `[B, F, d]` of a domain's rows: the slots of a `FieldStack`, and with several domains the domain."""
    schema, domain = layer.schema, layer.schema.domain(name)
    look, size = tables(embedding, name), len(next(iter(rows.values())))
    out = []
    for slot in layer.slots:
        feature = {f.name: f for f in domain.features}.get(slot)
        if feature is None:
            vector = np.zeros((size, layer.width))
        elif feature.kind == "number":
            vector = array(rows[slot])[:, None] * array(layer.number_vectors)[list(layer.numbers).index(slot)]
        elif feature.kind == "id":
            vector = look[feature.table][array(rows[slot])]
        else:
            beside = domain.histories(feature.of) if feature.role == "history" else [feature]
            steps = np.any([array(rows[f.name]) != 0 for f in beside], axis=0)
            vector = mean(look[feature.table][array(rows[slot])], steps)
        out.append(vector)
    if len(schema.domains) > 1:
        index = [d.name for d in schema.domains].index(name)
        out.append(np.tile(array(layer.domain_vectors)[index], (size, 1)))
    return np.stack(out, axis=1)


def first_order(layer, name, rows):
    """w_0 + sum_i w_i + sum_j w_j x_j, several values weighing their mean; `layer`: a `FirstOrder`."""
    domain = layer.schema.domain(name)
    z = np.full(
        (len(next(iter(rows.values()))), 1),
        array(layer.bias)[[d.name for d in layer.schema.domains].index(name)],
    )
    for f in domain.features:
        value = array(rows[f.name])
        if f.kind == "number":
            z = z + value[:, None] * float(layer.numbers[f.name])
            continue
        weights = array(layer.embedding.table(f"{f.name}_{f.table}", name))[value]
        if f.kind == "ids":
            beside = domain.histories(f.of) if f.role == "history" else [f]
            weights = mean(weights, np.any([array(rows[b.name]) != 0 for b in beside], axis=0))
        z = z + weights
    return z


def slots(layer, name, values):
    """The row `[B, width]` of a `SlotConcat`: every slot, zeros where the domain has none, and which domain it is."""
    size = len(next(iter(values.values())))
    row = [values.get(slot, np.zeros((size, width))) for slot, width in layer.widths.items()]
    domains = [d.name for d in layer.schema.domains]
    if len(domains) > 1:
        row.append(np.tile(np.eye(len(domains))[domains.index(name)], (size, 1)))
    return np.concatenate(row, axis=-1)


def pairs(fields):
    """Products of all pairs i < j of fields, in the order (0, 1), (0, 2), ..: `[B, P, d]`."""
    indices = itertools.combinations(range(fields.shape[1]), 2)
    return np.stack([fields[:, i] * fields[:, j] for i, j in indices], axis=1)


def mlp(layer, x, activation=lambda s: np.maximum(s, 0)):
    for hidden in layer.dense:
        x = activation(dense(hidden, x))
    return x


def tables(embedding, domain=None) -> dict[str, np.ndarray]:
    """The tables of a `FeatureEmbedding`, by name."""
    domains = [domain] if domain else embedding.domains
    names = {f.table for d in domains for f in embedding.schema.domain(d).features if f.table}
    return {name: array(embedding.table(name, domain)) for name in names}


def randomise(model, seed=0, scale=0.4) -> None:
    """Gives every float variable values that tell them apart; the row of padding stays zero."""
    from cdrzoo.layers import FeatureEmbedding

    rng = np.random.default_rng(seed)
    embeddings = [layer for layer in model._flatten_layers() if isinstance(layer, FeatureEmbedding)]
    padded = {id(v) for layer in embeddings for v in layer.variables}
    for v in model.variables:
        if v.dtype == "float32":
            value = rng.normal(size=v.shape) * scale
            if v.path.endswith(("variance", "moving_variance")):
                value = np.abs(value) + 0.5
            if id(v) in padded:
                value[0] = 0
            v.assign(value)


def built(model):
    """The model, built and randomised."""
    model.build()
    randomise(model)
    return model
