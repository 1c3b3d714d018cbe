"""What a training step asks of a GPU, read off its graph: operations, and copies between host and device.

    python -m benchmarks.graphs                  # every model; writes docs/results/measured/graphs.csv
    python -m benchmarks.graphs dnn cctl --more  # these alone, and which operations and copies they are

Models and batches are those of `benchmarks.costs`. After the first, `python -m docs.render` puts the table into
docs/speed_figures.md.

No GPU is needed: the step is traced, and TensorFlow's registry says of every operation which kernel a GPU would run
and which of its inputs and outputs that kernel wants in the memory of the host. An operation without a kernel for a GPU
runs on the host. A tensor that is made in one memory and read in the other is one copy, however many read it; the step
waits for a copy to the host. What the host holds before the step (the batch, constants) has to go to the device once,
and is counted apart.

Counted are the operations of the graph as it is traced, with those of the functions that it calls. Left out is what
TensorFlow only passes through (`FREE`), what nothing reads, and what is made of constants alone: that it computes
before the first step. A part that XLA compiles is one operation.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import functools
from typing import Any
from unittest import mock

import tensorflow as tf
from tensorflow.python.framework import kernels, op_def_registry
from tensorflow.python.framework.graph_util_impl import extract_sub_graph

from benchmarks import costs
from benchmarks.measured import FOLDER, write
from cdrzoo import models, optimizers, replicas

HEADING = [
    "model",
    "operations",
    "copies to the host",
    "to the device",
    "of what was given",
    "on the host alone",
]
FREE = {"NoOp", "Const", "Placeholder", "Identity", "IdentityN", "StopGradient", "VarHandleOp"}
"""What launches nothing."""
ON_HOST = {dtype.as_datatype_enum for dtype in (tf.int32, tf.string, tf.resource, tf.variant)}
"""What comes to a step in the memory of the host. An int32 is a size, for TensorFlow."""
GPU = ("GPU", "DEFAULT")
"""The devices of the registry whose kernels run on a GPU."""


@dataclasses.dataclass(frozen=True)
class Value:
    """A tensor of the graph: what made it, whether it is in the host's memory, and whether it was before the step.

    `constant`: whether it is the same in every step.
    """

    maker: str
    host: bool
    given: bool = False
    constant: bool = False


@dataclasses.dataclass
class Step:
    """What a graph asks for.

    Args:
        ops: how many operations there are of each kind.
        to_host, to_device: the copies, `{tensor: kinds of operations that read it}`.
        given: copies to the device of what the host held before.
        missing: how often an operation without a kernel for a GPU stands there.
    """

    ops: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    to_host: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    to_device: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    given: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    missing: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    @property
    def copies(self) -> int:
        """Copies of what the step itself has made."""
        return len(self.to_host) + len(self.to_device)


def training_step(model: Any, batch: Any) -> Step:
    """What a step of a compiled model asks for, of batches like this one, where there is a GPU."""
    spec = tf.nest.map_structure(tf.TensorSpec.from_tensor, batch)
    with mock.patch.object(replicas, "on_gpu", return_value=True):
        graph = tf.function(model.train_step, autograph=False).get_concrete_function(spec).graph
    wanted = [*(tensor.op for tensor in graph.outputs), *graph.control_outputs]
    return read(extract_sub_graph(graph.as_graph_def(), [op.name for op in wanted]))


def read(graph: Any) -> Step:
    """What a `GraphDef` asks for."""
    step = Step()
    _walk(graph.node, {}, {f.signature.name: f for f in graph.library.function}, step, "")
    return step


def _walk(nodes, arguments: dict[str, Value], functions: dict[str, Any], step: Step, scope: str):
    """Adds what nodes ask for to `step`; gives a function that looks up a tensor of theirs by its name."""
    made = {name: {"": [value]} for name, value in arguments.items()}

    def value(ref: str) -> Value:
        name, *rest = ref.split(":")
        if len(rest) == 2:  # in a function: node:output:number
            return made[name][rest[0]][int(rest[1])]
        return [v for values in made[name].values() for v in values][int(rest[0]) if rest else 0]

    for node in _in_order(nodes, made):
        inputs = [value(ref) for ref in node.input if not ref.startswith("^")]
        bodies = [functions[name] for name in _called(node)]
        if bodies:
            for body in bodies:  # both branches of a condition
                names = [argument.name for argument in body.signature.input_arg]
                given = dict(zip(names, inputs[len(inputs) - len(names) :]))
                inner = _walk(body.node_def, given, functions, step, f"{scope}{node.name}/")
                results = [inner(body.ret[argument.name]) for argument in body.signature.output_arg]
            made[node.name] = {"output": results}
        else:
            made[node.name] = _run(node, inputs, step, f"{scope}{node.name}")
    return value


def _run(node, inputs: list[Value], step: Step, name: str) -> dict[str, list[Value]]:
    """Adds one operation; gives its outputs."""
    definition, kernel = op_def_registry.get(node.op), _kernel(node)
    outputs = _grouped(definition.output_arg, node)
    if node.op in ("Placeholder", "Const"):
        host = node.attr["dtype"].type in ON_HOST
        return {"output": [Value(name, host, given=True, constant=node.op == "Const")]}
    if node.op in FREE and inputs:
        return {"output": inputs}
    on_host = set(kernel.host_memory_arg) if kernel else None
    if inputs and all(source.constant for source in inputs) and not definition.is_stateful:
        return {
            argument: [Value(name, on_host is None or argument in on_host, given=True, constant=True)] * count
            for argument, count in outputs.items()
        }
    if node.op not in FREE:
        step.ops[node.op] += 1
    if kernel is None and not node.attr["_XlaMustCompile"].b:
        step.missing[f"{node.op}[{_dtypes(node)}]"] += 1
    wanted = [a for a, count in _grouped(definition.input_arg, node).items() for _ in range(count)]
    taken = node.attr["Tin"].list.type  # of a call
    for number, (argument, source) in enumerate(zip(wanted, inputs)):
        host = on_host is None or argument in on_host
        handle = taken and taken[number] == tf.resource.as_datatype_enum  # stays where it is
        if host != source.host and not handle:
            copies = step.given if source.given else step.to_host if host else step.to_device
            copies.setdefault(source.maker, set()).add(node.op)
    return {
        argument: [Value(f"{name} ({node.op})", on_host is None or argument in on_host)] * count
        for argument, count in outputs.items()
    }


def _called(node) -> list[str]:
    """The functions that a node runs, if XLA does not compile them."""
    if node.attr["_XlaMustCompile"].b:
        return []
    one = [a.func.name for a in node.attr.values() if a.WhichOneof("value") == "func"]
    return one + [f.name for a in node.attr.values() for f in a.list.func]


def _in_order(nodes, known) -> list:
    """The nodes, each after those that it reads."""
    by_name, seen, out = {node.name: node for node in nodes}, set(known), []
    stack = list(reversed(nodes))
    while stack:
        node = stack[-1]
        waiting = [n for ref in node.input if (n := ref.lstrip("^").split(":")[0]) not in seen]
        if waiting:
            stack += [by_name[name] for name in waiting]
            continue
        stack.pop()
        if node.name not in seen:
            seen.add(node.name)
            out.append(node)
    return out


def _grouped(arguments, node) -> dict[str, int]:
    """How many tensors each argument of an operation stands for."""

    def count(argument) -> int:
        if argument.number_attr:
            return node.attr[argument.number_attr].i
        return len(node.attr[argument.type_list_attr].list.type) if argument.type_list_attr else 1

    return {argument.name: count(argument) for argument in arguments}


@functools.cache
def _kernels(op: str) -> list:
    registered = kernels.get_registered_kernels_for_op(op).kernel
    return sorted(
        (k for k in registered if k.device_type in GPU and not k.label), key=lambda k: k.device_type != "GPU"
    )


def _kernel(node):
    """The kernel that a GPU runs, if there is one."""

    def fits(kernel) -> bool:
        for constraint in kernel.constraint:
            value = node.attr[constraint.name]
            have = [value.type] if value.WhichOneof("value") == "type" else list(value.list.type)
            if not set(have) <= set(constraint.allowed_values.list.type):
                return False
        return True

    return next(filter(fits, _kernels(node.op)), None)


def _dtypes(node) -> str:
    types = {name: a.type for name, a in sorted(node.attr.items()) if a.WhichOneof("value") == "type"}
    return ", ".join(f"{name}={tf.as_dtype(value).name}" for name, value in types.items())


def step_of(name: str) -> Step:
    """What a step of a model of `benchmarks.costs` asks for."""
    model = costs.make(name)
    model.compile(optimizers.Adam())
    return training_step(model, next(iter(costs.batches(model))))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="MODEL", help="default: all")
    parser.add_argument("--more", action="store_true", help="which operations and which copies")
    args = parser.parse_args()
    rows = []
    for name in [models.card(name).name for name in args.names] or [card.name for card in models.CARDS]:
        step = step_of(name)
        copies = len(step.to_host), len(step.to_device), len(step.given)
        rows.append([name, step.ops.total(), *copies, step.missing.total()])
        print(*(f"{cell} {title}" for cell, title in zip(rows[-1], HEADING)), sep=", ", flush=True)
        if args.more:
            print("\n" + ", ".join(f"{n} {op}" for op, n in step.ops.most_common()))
            print(*(f"  on the host alone: {op}, {n} times" for op, n in step.missing.items()), sep="\n")
            for title in ("to_host", "to_device", "given"):
                for maker, readers in getattr(step, title).items():
                    print(f"  {title}: {maker}, read by {', '.join(sorted(readers))}")
    if not args.names:
        write(FOLDER / "graphs.csv", HEADING, rows, "Made by `python -m benchmarks.graphs`.")


if __name__ == "__main__":
    main()
