"""Domains: their features, their labels and their keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from cdrzoo.errors import SchemaError, check_choice, check_number, shown
from cdrzoo.schema.features import (
    BY_NAME,
    KINDS,
    TASKS,
    Feature,
    checked_ascii,
    checked_name,
    checked_words,
    with_weights,
)


@dataclass(frozen=True)
class Label:
    """One of several labels of a domain.

    Args:
        name: what the model's output is called, in metrics and when served.
        column: its raw column; default `name`. A row without a value weighs nothing in this label's loss and metrics;
            of the first label every row has one.
        task: `"click"` (0 or 1) or `"rating"` (a number).
        threshold: for clicks: a value of at least this much is a click. `None`: it is 0 or 1 already.
        given: an earlier label without which this one cannot be, such as the click of a conversion. The score is then
            the probability of both, that of the given label times that of this one once it is there (ESMM).
        mean: mean of the training rows. `prepare` fills it in; `None`: not known.
    """

    name: str
    column: str | None = None
    task: str = "click"
    threshold: float | None = None
    given: str | None = None
    mean: float | None = None

    def __post_init__(self):
        checked_name("The name of a label", self.name)
        checked_ascii("The name of a label", self.name)
        here = f"label {self.name!r}"
        if self.name in ("index", "item"):
            raise SchemaError(
                f"No label can be called {self.name!r}: `rank` gives something else by that name."
            )
        checked_words(self, here, "column", "given")
        if self.column is None:
            object.__setattr__(self, "column", self.name)
        check_choice(f"`task` of {here}", self.task, TASKS, SchemaError)
        for name in ("threshold", "mean"):
            if getattr(self, name) is not None:
                check_number(f"`{name}` of {here}", getattr(self, name), error=SchemaError)
        if self.threshold is not None and self.task == "rating":
            raise SchemaError(f"`threshold` of {here} has no meaning: it is a rating. Remove it.")


def _check_labels(domain: Domain) -> None:
    here, names = f"domain {domain.name!r}", [label.name.lower() for label in domain.labels]
    if len(names) < 2 or len(set(names)) < len(names):
        raise SchemaError(
            f"`labels` of {here} must be two or more, of different names. Received: {', '.join(names) or 'none'}. One "
            "label is `label: COLUMN`."
        )
    first = domain.labels[0]
    said = {
        "label": ("label", first.column),
        "task": ("click", first.task),
        "threshold": (None, first.threshold),
    }
    for name, allowed in said.items():
        if getattr(domain, name) not in allowed:
            raise SchemaError(
                f"Give `{name}` or `labels` of {here}, one of the two. Received: {shown(getattr(domain, name))}, too."
            )
    for at, label in enumerate(domain.labels):
        before = {each.name: each for each in domain.labels[:at]}
        if label.given is None:
            continue
        if label.given not in before or label.task != "click" or before[label.given].task != "click":
            raise SchemaError(
                f"`given` of label {label.name!r} must name an earlier label of {here}, and both be clicks. Earlier: "
                f"{', '.join(before) or 'none'}. Received: {shown(label.given)}."
            )


@dataclass(frozen=True)
class Domain:
    """One business domain: its features, its label and its keys.

    Args:
        name: the domain's name in batches.
        features: its features, in order.
        label: raw column of the label.
        labels: several labels in place of `label`, `task` and `threshold`, each with an output of its own, such as
            `{click: clicked, conversion: {column: bought, given: click}}`. The first is the main one: epochs are chosen
            by it, negatives drawn and models compared.
        task: `"click"` (label 0 or 1) or `"rating"` (label a number).
        threshold: for clicks: a label of at least this much is a click. `None`: the label is 0 or 1 already.
        time: raw column of the event's time (a number, in any unit that all domains share; a timestamp or a date as
            ISO 8601 writes it is read as Unix seconds); `None`: not known.
        user: raw column of the user's key; `None`: there is none, and so no GAUC and no groups of users. Default: the
            column of the `id` feature of role user that is called `user`, if there is one. What else is known of a
            user (age, city) is an attribute, never the key.
        item: raw column of the item's key; `None`: there is none, and so no negatives are drawn, and what rests on
            items is not measured. Default: the column of the `id` feature of role item that is called `item`.
        negatives_kept: of a log of clicks that kept a share of the rows without a click, this share, such as 0.1.
            Exports then give probabilities on all traffic, and metrics count such a row 1 / share times. Further labels
            must be `given` the first. Default: all were kept.
        mean: mean label of the training rows, where a model's output starts. `prepare` fills it in; `None`: not known.
    """

    name: str
    features: tuple[Feature, ...]
    label: str = "label"
    task: str = "click"
    threshold: float | None = None
    time: str | None = None
    user: str | None = BY_NAME
    item: str | None = BY_NAME
    mean: float | None = None
    labels: tuple[Label, ...] = ()
    negatives_kept: float | None = None

    def __post_init__(self):
        checked_name("The name of a domain", self.name)
        checked_ascii("The name of a domain", self.name)
        here = f"domain {self.name!r}"
        checked_words(self, here, "label", "time")
        object.__setattr__(self, "labels", tuple(self.labels or ()))
        if self.labels:
            _check_labels(self)
            for name, of in (("label", "column"), ("task", "task"), ("threshold", "threshold")):
                object.__setattr__(self, name, getattr(self.labels[0], of))
        if self.label is None:
            raise SchemaError(f"`label` of {here} must be the name of a column. Received: null.")
        for name in ("threshold", "mean"):
            if getattr(self, name) is not None:
                check_number(f"`{name}` of {here}", getattr(self, name), error=SchemaError)
        object.__setattr__(self, "features", tuple(self.features))
        if not self.features:
            raise SchemaError(f"Domain {self.name!r} lists no feature. Give it at least one.")
        for feature in self.features:
            check_choice(f"`kind` of feature {feature.name!r}", feature.kind, KINDS, SchemaError)
        names = [feature.name for feature in self.tensors]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SchemaError(f"Domain {self.name!r} lists {twice[0]!r} more than once. Names must differ.")
        for history in self.histories():
            first = next(f for f in self.histories() if f.events == history.events)
            if history.length != first.length:
                raise SchemaError(
                    f"Domain {self.name!r} lists histories of {history.of!r} with lengths {first.length} "
                    f"({first.name}) and {history.length} ({history.name}). They describe the same events and run "
                    "in step: give them one length."
                )
        check_choice(f"`task` of domain {self.name!r}", self.task, TASKS, SchemaError)
        if self.negatives_kept is not None:
            check_number(
                f"`negatives_kept` of {here}", self.negatives_kept, most=1, above=0, error=SchemaError
            )
            free = [label.name for label in self.labels[1:] if label.given is None]
            if self.task != "click" or free:
                raise SchemaError(
                    f"`negatives_kept` of {here} corrects clicks, and labels that are given one; it says nothing of "
                    f"{free[0] if free else 'ratings'!r}. Leave it out{', or say `given`' if free else ''}."
                )
        if self.threshold is not None and self.task == "rating":
            raise SchemaError(
                f"Domain {self.name!r} predicts ratings: `threshold` has no meaning. Remove it."
            )
        ids = {f.name: f for f in self.features if f.kind == "id" and f.cross is None}
        for key in ("user", "item"):
            if getattr(self, key) == BY_NAME:
                called = ids.get(key)
                object.__setattr__(self, key, called.column if called and called.role == key else None)
            if not isinstance(getattr(self, key), (str, type(None))):
                raise SchemaError(
                    f"`{key}` of domain {self.name!r} must be the name of the column with the {key}'s key. "
                    f"Received: {shown(getattr(self, key))}."
                )

    @property
    def outputs(self) -> dict[str, Label]:
        """What a model gives of its rows: the key in batches and the label. The first has the domain's own name.

        The further ones are called DOMAIN.LABEL. The output of a domain of one label is served under its task's name.
        """
        first = self.labels[0] if self.labels else Label(self.task, self.label, self.task, self.threshold)
        further = {f"{self.name}.{label.name}": label for label in self.labels[1:]}
        return {self.name: dataclasses.replace(first, mean=self.mean), **further}

    @property
    def heads(self) -> dict[str, Label]:
        """`outputs` with the mean of what the head of each says: given another label, among the rows that have it."""
        outputs = self.outputs
        means = {label.name: label.mean for label in outputs.values()}
        return {
            key: dataclasses.replace(label, mean=label.mean / given)
            if label.mean is not None and (given := means.get(str(label.given)))
            else label
            for key, label in outputs.items()
        }

    @property
    def tensors(self) -> tuple[Feature, ...]:
        """What a batch holds of a row: the features, and the weights of those that have some."""
        return with_weights(self.features)

    def feature(self, name: str) -> Feature:
        """The feature called `name`, or the weights that are."""
        for feature in self.tensors:
            if feature.name == name:
                return feature
        raise SchemaError(
            f"Domain {self.name!r} has no feature {name!r}. It has: {', '.join(f.name for f in self.features)}."
        )

    def inputs(self, features: Iterable[Feature] | None = None) -> tuple[Feature, ...]:
        """What rows are made of: of `features` (default: all) and of what they cross those with values of their own,
        and the weights.

        Raises:
            SchemaError: a `cross` names what is no feature of kind id, or has a `serving_value`.
        """
        wanted = {f.name for f in (self.features if features is None else features)}
        ids = {f.name: f for f in self.features if f.kind == "id" and f.cross is None}
        for f in self.features:
            for name in f.cross or () if f.name in wanted else ():
                if name not in ids or ids[name].serving_value is not None:
                    why = "has a `serving_value`" if name in ids else "is no feature of kind id there"
                    raise SchemaError(
                        f"Feature {f.name!r} of domain {self.name!r} crosses {name!r}, which {why}. Ids: "
                        f"{', '.join(ids) or 'none'}."
                    )
        wanted |= {name for f in self.features if f.name in wanted for name in f.cross or ()}
        return with_weights(f for f in self.features if f.name in wanted and f.cross is None)

    def with_role(self, role: str) -> tuple[Feature, ...]:
        """The features of one role, in order."""
        return tuple(feature for feature in self.features if feature.role == role)

    def histories(self, of: str | None = None) -> tuple[Feature, ...]:
        """The histories, of every domain or of the domain `of`."""
        return tuple(f for f in self.with_role("history") if of in (None, f.of))
