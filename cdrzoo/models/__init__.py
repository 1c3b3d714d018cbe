"""The models. This module only knows their names and what the field calls them; a model is imported when asked for."""

from __future__ import annotations

import difflib
import functools
import importlib
import pathlib
from dataclasses import dataclass
from typing import Any

from cdrzoo.errors import InputError


@dataclass(frozen=True)
class ModelCard:
    """What a person needs to choose a model.

    Args:
        name: what the command line calls it.
        cls: name of the class.
        title: its name in the field.
        family: `single-domain`, `multi-domain` or `cross-domain`.
        paper: where it was published.
        needs: what it needs from the schema.
        domains: which domains it trains on unless told otherwise: `target` or `all`.
        paired: whether it trains on batches whose i-th rows, in all domains, are one user's.
        after: of a second stage: the name of the first, whose trained model is its argument `pretrained`.
        module: the module of the class; default `name`.
        twin: of a cross-domain model without an argument `pooling`: the model of the target alone that it is most
            like, `din` if it attends to histories, else `dnn`.
    """

    name: str
    cls: str
    title: str
    family: str
    paper: str
    needs: str
    domains: str
    paired: bool = False
    after: str | None = None
    module: str | None = None
    twin: str = "dnn"

    def load(self) -> type:
        """The model's class (this imports TensorFlow)."""
        return getattr(importlib.import_module(f"cdrzoo.models.{self.module or self.name}"), self.cls)


CARDS = (
    ModelCard(
        "lr",
        "LR",
        "Logistic regression",
        "single-domain",
        "Richardson et al., WWW 2007",
        "any feature",
        "target",
    ),
    ModelCard(
        "fm",
        "FM",
        "Factorization machine",
        "single-domain",
        "Rendle, ICDM 2010",
        "tables of one width",
        "target",
    ),
    ModelCard(
        "wide_deep",
        "WideDeep",
        "Wide & Deep",
        "single-domain",
        "Cheng et al., DLRS 2016",
        "any feature; histories to cross with the candidate, with domains=all the same histories in all",
        "target",
    ),
    ModelCard(
        "deepfm",
        "DeepFM",
        "DeepFM",
        "single-domain",
        "Guo et al., IJCAI 2017",
        "tables of one width",
        "target",
    ),
    ModelCard(
        "nfm",
        "NFM",
        "Neural factorization machine",
        "single-domain",
        "He & Chua, SIGIR 2017",
        "tables of one width",
        "target",
    ),
    ModelCard(
        "afm",
        "AFM",
        "Attentional factorization machine",
        "single-domain",
        "Xiao et al., IJCAI 2017",
        "tables of one width",
        "target",
    ),
    ModelCard(
        "xdeepfm",
        "XDeepFM",
        "xDeepFM",
        "single-domain",
        "Lian et al., KDD 2018",
        "tables of one width",
        "target",
    ),
    ModelCard(
        "fibinet",
        "FiBiNET",
        "FiBiNET",
        "single-domain",
        "Huang et al., RecSys 2019",
        "tables of one width",
        "target",
    ),
    ModelCard(
        "dcn",
        "DCN",
        "Deep & Cross Network V2",
        "single-domain",
        "Wang et al., WWW 2021",
        "any feature; with domains=all the same histories in all; the package tensorflow-recommenders",
        "target",
    ),
    ModelCard(
        "dnn",
        "DNN",
        "Embedding and MLP",
        "single-domain",
        "Covington et al., RecSys 2016",
        "any feature; with domains=all the same histories in all",
        "target",
    ),
    ModelCard(
        "youtube_dnn",
        "YouTubeDNN",
        "YouTube DNN",
        "single-domain",
        "Covington et al., RecSys 2016",
        "any feature; with domains=all the same histories in all",
        "target",
    ),
    ModelCard(
        "din",
        "DIN",
        "Deep Interest Network",
        "single-domain",
        "Zhou et al., KDD 2018",
        "histories; with domains=all the same histories in all",
        "target",
    ),
    ModelCard(
        "shared_bottom",
        "SharedBottom",
        "Shared-Bottom",
        "multi-domain",
        "Caruana, Machine Learning 1997",
        "any feature; the same histories in all domains",
        "all",
    ),
    ModelCard(
        "mmoe",
        "MMoE",
        "Multi-gate mixture-of-experts",
        "multi-domain",
        "Ma et al., KDD 2018",
        "any feature; the same histories in all domains",
        "all",
    ),
    ModelCard(
        "ple",
        "PLE",
        "Progressive layered extraction",
        "multi-domain",
        "Tang et al., RecSys 2020",
        "any feature; the same histories in all domains",
        "all",
    ),
    ModelCard(
        "star",
        "STAR",
        "Star topology adaptive recommender",
        "multi-domain",
        "Sheng et al., CIKM 2021",
        "any feature; the same histories in all domains",
        "all",
    ),
    ModelCard(
        "dacdr",
        "DACDR",
        "Domain-aware cross-attention",
        "cross-domain",
        "Luo et al., ICASSP 2024",
        "histories of a source in the target's rows",
        "all",
        twin="din",
    ),
    ModelCard(
        "cctl",
        "CCTL",
        "Collaborative cross-domain transfer learning",
        "cross-domain",
        "Zhang et al., KDD 2023",
        "a user table both domains share, or histories across domains",
        "all",
    ),
    ModelCard(
        "mem",
        "MEM",
        "Multi-entity model, the first stage of MKT",
        "cross-domain",
        "Guan et al., 2024",
        "features that all domains list; features of their own are aligned",
        "all",
        module="mkt",
    ),
    ModelCard(
        "mkt",
        "MKT",
        "Multi-entity knowledge transfer",
        "cross-domain",
        "Guan et al., 2024",
        "features that all domains list; features of their own are aligned",
        "all",
        after="mem",
    ),
    ModelCard(
        "dadin",
        "DADIN",
        "Domain adversarial deep interest network",
        "cross-domain",
        "Kong et al., 2023",
        "tables of one width; histories of every domain in the rows of all",
        "all",
        twin="din",
    ),
    ModelCard(
        "dann",
        "DANN",
        "Domain-adversarial neural network",
        "cross-domain",
        "Ganin et al., JMLR 2016",
        "any feature; the same histories in all domains",
        "all",
    ),
    ModelCard(
        "minet",
        "MiNet",
        "Mixed interest network",
        "cross-domain",
        "Ouyang et al., CIKM 2020",
        "items and users in all domains, histories in the target's rows",
        "all",
        twin="din",
    ),
    ModelCard(
        "source_dnn",
        "SourceDNN",
        "DNN of the sources, the first stage of Finetune and CTNet",
        "cross-domain",
        "Yang et al., Information Sciences 2022",
        "a feature that each source and the target list",
        "all",
    ),
    ModelCard(
        "finetuned_dnn",
        "FinetunedDNN",
        "Finetune: pre-training on the sources, fine-tuning on the target",
        "cross-domain",
        "Yang et al., Information Sciences 2022",
        "a feature that each source and the target list",
        "all",
        after="source_dnn",
    ),
    ModelCard(
        "ctnet",
        "CTNet",
        "Continual transfer network",
        "cross-domain",
        "Liu et al., WWW 2023",
        "a feature that each source and the target list",
        "all",
        after="source_dnn",
    ),
    ModelCard(
        "mv_dnn",
        "MVDNN",
        "Multi-view DNN",
        "cross-domain",
        "Elkahky et al., WWW 2015",
        "items and users in all domains; the same histories in all",
        "all",
    ),
    ModelCard(
        "mlp_pp",
        "MLPPlusPlus",
        "MLP++",
        "cross-domain",
        "Hu et al., CIKM 2018",
        "a user table both domains share",
        "all",
        paired=True,
    ),
    ModelCard(
        "csn",
        "CSN",
        "Cross-stitch network",
        "cross-domain",
        "Misra et al., CVPR 2016",
        "a user table both domains share",
        "all",
        paired=True,
    ),
    ModelCard(
        "conet",
        "CoNet",
        "CoNet; with `lasso` sparse CoNet",
        "cross-domain",
        "Hu et al., CIKM 2018",
        "a user table both domains share; the same histories in all",
        "all",
        paired=True,
    ),
    ModelCard(
        "mf",
        "MF",
        "Matrix factorisation of each domain, the first stage of EMCDR and PTUPCDR",
        "cross-domain",
        "Koren et al., 2009",
        "ids of users and items, of one width; a vocabulary of users all domains share",
        "all",
    ),
    ModelCard(
        "cmf",
        "CMF",
        "Collective matrix factorisation",
        "cross-domain",
        "Singh and Gordon, KDD 2008",
        "ids of users and items, of one width; a vocabulary of users all domains share",
        "all",
    ),
    ModelCard(
        "emcdr",
        "EMCDR",
        "Embedding and mapping",
        "cross-domain",
        "Man et al., IJCAI 2017",
        "ids of users and items, of one width; a vocabulary of users all domains share",
        "all",
        after="mf",
    ),
    ModelCard(
        "ptupcdr",
        "PTUPCDR",
        "Personalised transfer of user preferences",
        "cross-domain",
        "Zhu et al., WSDM 2022",
        "what MF needs, and histories of the source's items in the target's rows",
        "all",
        after="mf",
    ),
    ModelCard(
        "cml",
        "CML",
        "Collaborative metric learning, the first stage of SSCDR",
        "cross-domain",
        "Hsieh et al., WWW 2017",
        "ids of users and items, of one width; a vocabulary of users all domains share",
        "all",
        module="sscdr",
    ),
    ModelCard(
        "sscdr",
        "SSCDR",
        "Semi-supervised mapping",
        "cross-domain",
        "Kang et al., CIKM 2019",
        "what CML needs, and histories of the source's items in the target's rows",
        "all",
        after="cml",
    ),
)


def card(name: str) -> ModelCard:
    """The card of the model called `name`, for example `"cctl"`."""
    names = {one.name: one for one in CARDS}
    if name not in names:
        near = difflib.get_close_matches(str(name).lower(), names, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Models: {', '.join(names)}."
        raise InputError(f"There is no model {name!r}. {hint}")
    return names[name]


@functools.cache
def costs() -> dict[str, dict[str, float]]:
    """What models cost beside DNN, of which they were measured: `{name: {"parameters": ratio, "step": ratio}}`."""
    import yaml

    text = pathlib.Path(__file__).with_name("costs.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def table() -> list[tuple[str, ...]]:
    """The models as rows of text, the names of the columns first: what `cdrzoo models` and the README show."""
    rows: list[tuple[str, ...]] = [("name", "model", "family", "needs", "parameters", "step", "paper")]
    for one in CARDS:
        cost = costs()[one.name]
        ratios = (f"{cost['parameters']:.2f}", f"{cost['step']:.1f}")
        rows.append((one.name, one.title, one.family, one.needs, *ratios, one.paper))
    return rows


__all__ = ["CARDS", "ModelCard", "card", "costs", "table", *(one.cls for one in CARDS)]


def __getattr__(name: str) -> Any:
    for one in CARDS:
        if one.cls == name:
            return one.load()
    raise AttributeError(f"module 'cdrzoo.models' has no attribute {name!r}")
