"""With equal weights our models score rows as deepctr's do. Where they differ by design, a test names it."""

from __future__ import annotations

import numpy as np
import pytest

from cdrzoo import models
from cdrzoo.schema import Domain, Feature, Schema, Table
from tests.models import oracle
from tests.models.toys import toy_rows, toy_schema
from tests.parity.peer import different, give, same

WIDTH, LENGTH = 4, 5


def named(model, kind):
    """Layers of a deepctr model by the name of their class, in the order in which they were made."""
    found = [layer for layer in model.layers if type(layer).__name__ == kind]
    return sorted(found, key=lambda layer: (len(layer.name), layer.name))


def give_mlp(theirs, dense):
    dense = list(dense)
    give(zip(theirs.kernels, [layer.kernel for layer in dense]))
    give(zip(theirs.bias, [layer.bias for layer in dense]))


def after(layer):
    """The layer that reads what this one says."""
    return layer.outbound_nodes[0].layer


# Several tasks: the domains -----------------------------------------------------------------------------------------


@pytest.fixture
def both():
    """Rows of both domains of a toy schema, and how a model over them stands beside one of deepctr.

    deepctr's tasks read one row; its embedding is another thing than ours, so it is given our vectors of the rows,
    which hold the one-hot of the domain. A row of domain d is what its task d scores.
    """
    from deepctr.feature_column import DenseFeat

    x, _ = toy_rows(toy_schema(), {"books": 7, "films": 6})

    def compare(ours, make, give_weights):
        ours(x)
        oracle.randomise(ours)
        rows = {name: np.asarray(row) for name, row in ours.rows(x).items()}
        theirs = make([DenseFeat("row", rows["films"].shape[1])], task_names=tuple(rows), seed=3)
        for name in rows:
            tower = theirs.get_layer(f"tower_{name}")
            give_mlp(tower, ours.towers[name].dense)
            give([(after(tower).kernel, ours.heads[name].kernel)])
            give([(theirs.get_layer(name).global_bias, ours.heads[name].bias)])
        give_weights(theirs)
        for task, (name, row) in enumerate(rows.items()):
            same(ours(x)[name], theirs(row)[task])

    return compare


SIZES = {"tower_dnn_hidden_units": (5,)}


def test_shared_bottom(both):
    from deepctr.models import SharedBottom

    ours = models.SharedBottom(toy_schema(), units=(8, 6), tower_units=(5,))

    def weights(theirs):
        bottom = [layer for layer in named(theirs, "DNN") if not layer.name.startswith("tower")]
        give_mlp(bottom[0], ours.bottom.dense)

    both(ours, lambda c, **k: SharedBottom(c, bottom_dnn_hidden_units=(8, 6), **SIZES, **k), weights)


def test_mmoe(both):
    from deepctr.models import MMOE

    ours = models.MMoE(toy_schema(), expert_units=(8, 6), experts=3, tower_units=(5,))

    def weights(theirs):
        for i, expert in enumerate(ours.mixture.shared_experts):
            give_mlp(theirs.get_layer(f"expert_{i}"), expert.dense)
        for name, gate in zip(ours.mixture.tasks, ours.mixture.gates):
            give([(theirs.get_layer(f"gate_softmax_{name}").kernel, gate.kernel)])

    both(ours, lambda c, **k: MMOE(c, num_experts=3, expert_dnn_hidden_units=(8, 6), **SIZES, **k), weights)


@pytest.mark.parametrize(("levels", "specific", "shared"), [(1, 1, 1), (2, 2, 1), (3, 1, 2)])
def test_ple(both, levels, specific, shared):
    from deepctr.models import PLE

    ours = models.PLE(
        toy_schema(),
        expert_units=(8, 6),
        levels=levels,
        specific_experts=specific,
        shared_experts=shared,
        tower_units=(5,),
    )

    def weights(theirs):
        for level, cgc in enumerate(ours.extraction.extractors):
            at = f"level_{level}_"
            for t, name in enumerate(cgc.tasks):
                for i in range(specific):
                    expert = theirs.get_layer(f"{at}task_{name}_expert_specific_{i}")
                    give_mlp(expert, cgc.specific_experts[t * specific + i].dense)
                give([(theirs.get_layer(f"{at}gate_softmax_specific_{name}").kernel, cgc.gates[t].kernel)])
            for i, expert in enumerate(cgc.shared_experts):
                give_mlp(theirs.get_layer(f"{at}expert_shared_{i}"), expert.dense)
            if cgc.shared_gate:
                give([(theirs.get_layer(f"{at}gate_softmax_shared").kernel, cgc.gate_of_all.kernel)])

    counts = {"num_levels": levels, "specific_expert_num": specific, "shared_expert_num": shared}
    both(ours, lambda c, **k: PLE(c, expert_dnn_hidden_units=(8, 6), **counts, **SIZES, **k), weights)


# One domain ---------------------------------------------------------------------------------------------------------

TABLES = {"user": 30, "film": 20, "genre": 9}
IDS = {"uid": "user", "iid": "film", "kind": "genre"}
HISTORIES = {"hist_iid": "film", "hist_kind": "genre"}


def shop() -> Schema:
    """Ids and one domain's histories, and no numbers: a number is a field with a vector here, and a column there."""
    ids = [Feature(name, "id", "item", "int64", table) for name, table in IDS.items()]
    ids[0] = Feature("uid", "id", "user", "int64", "user")
    histories = [
        Feature(name, "ids", "history", "int64", table, LENGTH, of="films", field=name[5:])
        for name, table in HISTORIES.items()
    ]
    tables = tuple(Table(name, width=WIDTH, rows=rows) for name, rows in TABLES.items())
    return Schema((Domain("films", (*ids, *histories)),), "films", tables)


def columns(shared: bool = True) -> list:
    """The schema in deepctr's words. `shared`: features of one table share it (not in its linear part; see below)."""
    from deepctr.feature_column import SparseFeat, VarLenSparseFeat

    def sparse(name, table):
        return SparseFeat(name, TABLES[table], WIDTH, embedding_name=table if shared else name)

    return [
        *(sparse(name, table) for name, table in IDS.items()),
        *(
            VarLenSparseFeat(sparse(name, table), LENGTH, combiner="mean")
            for name, table in HISTORIES.items()
        ),
    ]


def rows(full: bool) -> dict:
    rng = np.random.default_rng(4)
    x = {name: rng.integers(1, TABLES[table], 8) for name, table in IDS.items()}
    x |= {name: rng.integers(1, TABLES[table], (8, LENGTH)) for name, table in HISTORIES.items()}
    if not full:
        present = np.arange(LENGTH) < rng.integers(1, LENGTH + 1, (8, 1))
        x |= {name: x[name] * present for name in HISTORIES}
    return {name: value.astype("int32") for name, value in x.items()}


def give_tables(theirs, ours):
    """All of deepctr's embedding layers, by their names: those of the linear part are its weights."""
    for layer in named(theirs, "Embedding"):
        name = layer.name.rpartition("emb_")[2]
        table = {**IDS, **HISTORIES}.get(name, name)
        if layer.name.startswith("linear") and hasattr(ours, "linear"):
            give([(layer.embeddings, ours.linear.embedding.table(f"{name}_{table}", "films"))])
        elif not layer.name.startswith("linear"):
            embedding = ours.embedding if hasattr(ours, "embedding") else ours.rows.embedding
            give([(layer.embeddings, embedding.table(table, "films"))])


@pytest.fixture(params=["full", "padded"])
def one(request):
    """How a model of ours scores rows beside one of deepctr. Each table of its linear part belongs to one feature, as
    ours do; the tables of vectors are shared."""
    x = rows(request.param == "full")

    def compare(ours, theirs, give_weights, agree=same):
        ours({"films": x})
        oracle.randomise(ours)
        give_tables(theirs, ours)
        bias = ours.linear.bias if hasattr(ours, "linear") else ours.head.bias
        give([(named(theirs, "PredictionLayer")[0].global_bias, bias)])
        give_weights(theirs)
        agree(ours({"films": x})["films"], theirs(x))

    return compare


def test_fm(one):
    """deepctr's FM is its DeepFM with a network that says 0."""
    from deepctr.models import DeepFM

    def weights(theirs):
        give([(named(theirs, "Dense")[0].kernel, np.zeros((3, 1)))])

    one(models.FM(shop()), DeepFM(columns(False), columns(), dnn_hidden_units=(3,)), weights)


def test_deepfm(one):
    from deepctr.models import DeepFM

    ours = models.DeepFM(shop(), units=(8, 6))

    def weights(theirs):
        give_mlp(named(theirs, "DNN")[0], ours.mlp.dense)
        give([(named(theirs, "Dense")[0].kernel, ours.head.kernel)])

    one(ours, DeepFM(columns(False), columns(), dnn_hidden_units=(8, 6)), weights)


def test_nfm_without_normalisation(one):
    """deepctr has none. With it the authors' model is another one, also before any training has moved the averages."""
    from deepctr.models import NFM

    for batch_norm, agree in ((False, same), (True, different)):
        ours = models.NFM(shop(), units=(8,), batch_norm=batch_norm)

        def weights(theirs, ours=ours):
            give_mlp(named(theirs, "DNN")[0], ours.dense)
            give([(named(theirs, "Dense")[0].kernel, ours.head.kernel)])

        one(ours, NFM(columns(False), columns(), dnn_hidden_units=(8,)), weights, agree)


def test_afm(one):
    from deepctr.models import AFM

    ours = models.AFM(shop(), attention_units=3)

    def weights(theirs):
        layer, attention = named(theirs, "AFMLayer")[0], ours.attention
        give([(layer.attention_W, attention.kernel), (layer.attention_b, attention.bias)])
        give([(layer.projection_h, attention.score), (layer.projection_p, ours.head.kernel)])

    one(ours, AFM(columns(False), columns(), attention_factor=3), weights)


def test_xdeepfm(one):
    """Without the halving and the ReLU of deepctr's defaults, which are not the paper's."""
    from deepctr.models import xDeepFM

    ours = models.XDeepFM(shop(), units=(8, 6), cin_units=(5, 4))

    def weights(theirs):
        give_mlp(named(theirs, "DNN")[0], ours.mlp.dense)
        give(zip(named(theirs, "CIN")[0].filters, ours.cin.kernels))
        deep, cin = (after(named(theirs, kind)[0]).kernel for kind in ("DNN", "CIN"))
        kernel = np.asarray(ours.head.kernel)
        give([(cin, kernel[:9]), (deep, kernel[9:])])

    options = {"cin_layer_size": (5, 4), "cin_split_half": False, "cin_activation": "linear"}
    one(ours, xDeepFM(columns(False), columns(), dnn_hidden_units=(8, 6), **options), weights)


@pytest.mark.parametrize("bilinear", ["all", "each", "interaction"])
def test_fibinet(one, bilinear):
    """deepctr hands the products to its network pair by pair, ours all those of the plain fields first."""
    from deepctr.models import FiBiNET

    ours = models.FiBiNET(shop(), units=(8, 6), bilinear=bilinear, reduction=2)

    def weights(theirs):
        senet = named(theirs, "SENETLayer")[0]
        give([(senet.W_1, ours.senet.squeeze), (senet.W_2, ours.senet.excite)])
        # They are made in this order.
        for layer, products in zip(
            named(theirs, "BilinearInteraction"), (ours.weighed_products, ours.products)
        ):
            give(zip([layer.W] if bilinear == "all" else layer.W_list, np.asarray(products.kernel)))
        network = named(theirs, "DNN")[0]
        give_mlp(network, ours.mlp.dense)
        plain, weighed = np.reshape(ours.mlp.dense[0].kernel, (2, -1, WIDTH, 8))
        give([(network.kernels[0], np.concatenate([weighed, plain], axis=1).reshape(-1, 8))])
        give([(named(theirs, "Dense")[0].kernel, ours.head.kernel)])

    options = {"bilinear_type": bilinear, "reduction_ratio": 2, "dnn_hidden_units": (8, 6)}
    one(ours, FiBiNET(columns(False), columns(), **options), weights)


def test_dcn_of_vectors(one):
    """The first version, parallel; deepctr's also has a linear part, which stays at 0."""
    from deepctr.models import DCN

    ours = models.DCN(shop(), cross="dcn", structure="parallel", units=(8, 6))

    def weights(theirs):
        cross = named(theirs, "CrossNet")[0]
        give(zip([*cross.kernels, *cross.bias], [*ours.crosses.kernels, *ours.crosses.biases]))
        give_mlp(named(theirs, "DNN")[0], ours.mlp.dense)
        give([(named(theirs, "Dense")[0].kernel, ours.head.kernel)])

    one(ours, DCN(columns(False), columns(), cross_num=2, dnn_hidden_units=(8, 6)), weights)


def test_din(one):
    from deepctr.models import DIN

    ours = models.DIN(shop(), units=(8, 6), attention_units=(5, 3))

    def weights(theirs):
        unit, attention = (
            named(theirs, "AttentionSequencePoolingLayer")[0].local_att,
            ours.rows.fields["films"].attentions["films"],
        )
        give(zip(unit.dnn.kernels, [attention.kernel, *(layer.kernel for layer in attention.hidden)]))
        give(zip(unit.dnn.bias, [attention.bias, *(layer.bias for layer in attention.hidden)]))
        give([(unit.kernel, attention.score.kernel), (unit.bias, attention.score.bias)])
        network = named(theirs, "DNN")[0]
        give_mlp(network, ours.mlp.dense)
        for theirs_, ours_ in zip(
            [*unit.dnn.activation_layers, *network.activation_layers],
            [*attention.activations, *ours.mlp.activations],
        ):
            give([(theirs_.alphas, ours_.alpha), (theirs_.bn.moving_mean, ours_.moving_mean)])
            give([(theirs_.bn.moving_variance, ours_.moving_variance)])
        give([(named(theirs, "Dense")[0].kernel, ours.head.kernel)])

    options = {"dnn_hidden_units": (8, 6), "dnn_activation": "dice", "att_hidden_size": (5, 3)}
    one(ours, DIN(columns(), ["iid", "kind"], **options), weights)
