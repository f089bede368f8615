"""A graph's weights in eight bits, and its products computed in them.

The quantiser is ONNX Runtime's: weights with a scale for each column, activations with one for the
whole call. Two things are done to the graph first, as a few large values would spoil that one
scale. Each token is divided by its largest value before a product, and multiplied by it after; and
embeddings get a scale for each row. This module knows nothing about models or accuracy.

Source: the scale for each token is that of Z. Yao et al., "ZeroQuant" (2022).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

_PRODUCTS = ["MatMul", "Gemm"]
_LEAST = 1e-9  # in place of the largest value of a token that is all zeros


def quantize(file: Path, *, kept: int) -> None:
    """Store the weights of products and embeddings in eight bits, in place.

    Weights use seven of the eight bits: with all of them a processor that has AVX2 but no VNNI adds
    products up in 16 bits, which overflow, and would answer otherwise than one that has.

    Args:
        file: a graph.
        kept: how many of its last products, those of the head, stay as they are.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(file)
    products = [node for node in model.graph.node if node.op_type in _PRODUCTS]
    head = [node.name for node in products[len(products) - kept :]]
    _scale_rows(model.graph)
    _even_tokens(model.graph, [node for node in products if node.name not in head])
    onnx.save(model, file)
    quantize_dynamic(
        file,
        file,
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=_PRODUCTS,
        nodes_to_exclude=head,
        extra_options={"MatMulConstBOnly": True},
    )


def _scale_rows(graph: onnx.GraphProto) -> None:
    """Store each embedding in eight bits and a scale, and look both up."""
    weights = _weights(graph)
    uses = Counter(name for node in graph.node for name in node.input)
    lookups = Counter(node.input[0] for node in graph.node if _is_lookup(node, weights))
    tables = {name for name in lookups if lookups[name] == uses[name]}
    for name in tables:
        rows = numpy_helper.to_array(weights[name])  # (V, H)
        scale = np.maximum(np.abs(rows).max(axis=1, keepdims=True), _LEAST) / 127  # (V, 1)
        stored = {"quantized": np.rint(rows / scale).astype(np.int8), "scale": scale}
        graph.initializer.remove(weights[name])
        graph.initializer.extend(
            numpy_helper.from_array(values, f"{name}_{kind}") for kind, values in stored.items()
        )
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.input and node.input[0] in tables:
            (table, ids), (out,) = node.input, node.output
            nodes += [
                helper.make_node("Gather", [f"{table}_quantized", ids], [f"{out}_quantized"]),
                helper.make_node("Gather", [f"{table}_scale", ids], [f"{out}_scale"]),
                helper.make_node(
                    "Cast", [f"{out}_quantized"], [f"{out}_cast"], to=TensorProto.FLOAT
                ),
                helper.make_node("Mul", [f"{out}_cast", f"{out}_scale"], [out]),
            ]
        else:
            nodes.append(node)
    _put(graph, nodes)


def _even_tokens(graph: onnx.GraphProto, products: Iterable[NodeProto]) -> None:
    """Divide what goes into a product by each token's largest value, and multiply after."""
    weights = _weights(graph)
    readers = defaultdict(list)  # of an activation: products that read it share the division
    for node in products:
        if node.op_type == "MatMul" and node.input[1] in weights:
            readers[node.input[0]].append(node.name)
    after = {name: source for source, names in readers.items() for name in names}
    least, axis = "spanwise_least", "spanwise_last_axis"
    graph.initializer.append(numpy_helper.from_array(np.array(_LEAST, np.float32), least))
    graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), axis))
    nodes: list[NodeProto] = []
    for node in graph.node:
        source = after.get(node.name)
        if source is None:
            nodes.append(node)
            continue
        largest, even = f"{source}_largest", f"{source}_even"
        if source in readers:
            del readers[source]
            nodes += [
                helper.make_node("Abs", [source], [f"{source}_abs"]),
                helper.make_node("ReduceMax", [f"{source}_abs", axis], [f"{source}_max"]),
                helper.make_node("Max", [f"{source}_max", least], [largest]),
                helper.make_node("Div", [source, largest], [even]),
            ]
        out = node.output[0]
        node.input[0], node.output[0] = even, f"{out}_even"
        nodes += [node, helper.make_node("Mul", [f"{out}_even", largest], [out])]
    _put(graph, nodes)


def _weights(graph: onnx.GraphProto) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in graph.initializer}


def _is_lookup(node: NodeProto, weights: dict[str, TensorProto]) -> bool:
    """Whether it takes rows of a table of floats."""
    if node.op_type != "Gather" or any(attribute.i for attribute in node.attribute):  # the axis
        return False
    table = weights.get(node.input[0])
    return table is not None and table.data_type == TensorProto.FLOAT and len(table.dims) == 2


def _put(graph: onnx.GraphProto, nodes: Iterable[NodeProto]) -> None:
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
