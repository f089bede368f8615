"""A graph's weights in eight bits, and its products computed in them.

Weights have a scale for each column, embeddings for each row, and what goes into a product for each
token, found as it comes. `onnxruntime.quantization` knows one scale for all tokens of a call, which
a few large values spoil, and which makes an answer depend on the windows read beside it. This
module knows nothing about models or accuracy.

Source: the scale for each token is that of Z. Yao et al., "ZeroQuant" (2022).
"""

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

_CONTRIB = "com.microsoft"  # of ONNX Runtime's own operators
_LEAST = 1e-9  # in place of the largest value of a column that is all zeros
_LARGEST_WEIGHT = 64  # of seven bits


class _Range(NamedTuple):
    """How a token's values are spread over the integers from 0 to 255.

    Attributes:
        name: of its constants in the graph.
        zero: the integer that stands for 0.
    """

    name: str
    zero: int


_BOTH_SIDES = _Range("both_sides", 128)
# GELU gives nothing below -0.17, for which it has 32 integers of the size that a largest value of
# this or more ensures.
_AFTER_GELU = _Range("after_gelu", 32)
_LEAST_AFTER_GELU = 0.1701 * (255 - 32) / 32


def quantize(file: Path, *, kept: int) -> None:
    """Store the weights of products and embeddings in eight bits, in place.

    Weights use seven of the eight bits: with all of them a processor that has AVX2 but no VNNI adds
    products up in 16 bits, which overflow, and would answer otherwise than one that has. GELU
    before a product is computed by way of tanh, which is faster and within 0.0005 of it.

    Args:
        file: a graph of opset 21 or later.
        kept: how many of its last products, those of the head, stay as they are; so do those of
            the operator `Gemm`.
    """
    model = onnx.load(file)
    graph = model.graph
    products = [node for node in graph.node if node.op_type in {"MatMul", "Gemm"}]
    body = {node.name for node in products[: len(products) - kept] if node.op_type == "MatMul"}
    _scale_rows(graph)
    _scale_tokens(graph, body)
    model.opset_import.append(helper.make_opsetid(_CONTRIB, 1))
    onnx.save(model, file)


def _scale_rows(graph: onnx.GraphProto) -> None:
    """Store each embedding in eight bits and a scale, and look both up."""
    weights = _weights(graph)
    tables = _used_up(graph, [n.input[0] for n in graph.node if _is_lookup(n, weights)])
    for name in tables:
        _store(graph, weights[name], largest=127, axis=1)
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
    put_nodes(graph, nodes)


def _scale_tokens(graph: onnx.GraphProto, names: Collection[str]) -> None:
    """Compute in integers what the nodes of these names multiply by a weight."""
    weights = _weights(graph)
    products = [node for node in graph.node if node.name in names and node.input[1] in weights]
    stored = _used_up(graph, [node.input[1] for node in products])
    for name in stored:
        _store(graph, weights[name], largest=_LARGEST_WEIGHT, axis=0)
    _hold(graph, "last_axis", np.array([-1], np.int64))
    _hold(graph, "after_gelu_least", np.array(_LEAST_AFTER_GELU, np.float32))
    for spread in (_BOTH_SIDES, _AFTER_GELU):
        _hold(graph, f"{spread.name}_zero", np.array(spread.zero, np.uint8))
        _hold(graph, f"{spread.name}_step", np.array(1 / (255 - spread.zero), np.float32))
    gelus = {node.output[0]: node for node in graph.node if node.op_type == "Gelu"}
    nodes: list[NodeProto] = []
    replaced = {node.name for node in products if node.input[1] in stored}
    scaled = set()  # products that read the same tokens share their integers
    rows = _rows(graph)
    zeros: dict[Hashable, str] = {}  # sources of as many tokens share an array as well
    for node in graph.node:
        if node.name not in replaced:
            nodes.append(node)
            continue
        source, weight = node.input
        spread = _AFTER_GELU if source in gelus else _BOTH_SIDES
        if source not in scaled:
            scaled.add(source)
            nodes += _scale(source, spread)
            key = spread, rows.get(source, source)
            if key not in zeros:
                zeros[key] = f"{source}_zero"
                nodes += _zeros(source, spread)
            nodes.append(
                helper.make_node(
                    "QuantizeLinear",
                    [source, f"{source}_token_scale", zeros[key]],
                    [f"{source}_in_integers"],
                    axis=-1,
                    block_size=weights[weight].dims[0],
                )
            )
            if source in gelus:
                del gelus[source].attribute[:]
                gelus[source].attribute.append(helper.make_attribute("approximate", "tanh"))
        integers = [f"{source}_in_integers", f"{weight}_quantized"]
        scales = [f"{source}_token_scale", f"{weight}_scale"]
        nodes.append(
            helper.make_node(  # multiplies by any scale that broadcasts, though only some are told
                "MatMulIntegerToFloat",
                [*integers, *scales, f"{spread.name}_zero"],
                node.output,
                node.name,
                domain=_CONTRIB,
            )
        )
    put_nodes(graph, nodes)


def _scale(source: str, spread: _Range) -> Iterable[NodeProto]:
    """Scales (B, T, 1) of tokens (B, T, width).

    That of a token that is all zeros may be 0, by which whatever its integers are is multiplied.
    """
    size, most, largest = (f"{source}_{kind}" for kind in ("size", "most", "largest"))
    if spread is _AFTER_GELU:
        yield helper.make_node("ReduceMax", [source, "last_axis"], [most])
        yield helper.make_node("Max", [most, "after_gelu_least"], [largest])
    else:
        yield helper.make_node("Abs", [source], [size])
        yield helper.make_node("ReduceMax", [size, "last_axis"], [largest])
    yield helper.make_node("Mul", [largest, f"{spread.name}_step"], [f"{source}_token_scale"])


def _zeros(source: str, spread: _Range) -> Iterable[NodeProto]:
    """The integer that stands for 0, once for each token: (B, T, 1)."""
    value = numpy_helper.from_array(np.array([spread.zero], np.uint8))
    yield helper.make_node("Shape", [f"{source}_token_scale"], [f"{source}_tokens"])
    yield helper.make_node("ConstantOfShape", [f"{source}_tokens"], [f"{source}_zero"], value=value)


def _store(graph: onnx.GraphProto, weight: TensorProto, *, largest: int, axis: int) -> None:
    """Keep a weight as integers, with scales of its columns (N,) or, for axis 1, rows (V, 1)."""
    values = numpy_helper.to_array(weight)
    scale = np.maximum(np.abs(values).max(axis, keepdims=True), _LEAST) / largest
    graph.initializer.remove(weight)
    _hold(graph, f"{weight.name}_quantized", np.rint(values / scale).astype(np.int8))
    _hold(graph, f"{weight.name}_scale", scale[0] if axis == 0 else scale)


def _hold(graph: onnx.GraphProto, name: str, values: NDArray[np.generic]) -> None:
    graph.initializer.append(numpy_helper.from_array(values, name))


def _weights(graph: onnx.GraphProto) -> dict[str, TensorProto]:
    """The matrices of floats."""
    return {
        tensor.name: tensor
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2
    }


def _rows(graph: onnx.GraphProto) -> dict[str, Hashable]:
    """Sizes of all dimensions but the last, as far as they are told, by name or number."""
    return {
        value.name: tuple(dim.dim_param or dim.dim_value or value.name for dim in dims[:-1])
        for value in graph.value_info
        if (dims := value.type.tensor_type.shape.dim)
    }


def _used_up(graph: onnx.GraphProto, names: Sequence[str]) -> set[str]:
    """Which of these names, each given as often as it is used here, are used nowhere else."""
    here, uses = Counter(names), Counter(name for node in graph.node for name in node.input)
    return {name for name in here if here[name] == uses[name]}


def _is_lookup(node: NodeProto, weights: dict[str, TensorProto]) -> bool:
    """Whether it takes rows of a table of floats."""
    if node.op_type != "Gather" or any(attribute.i for attribute in node.attribute):  # the axis
        return False
    return node.input[0] in weights


def put_nodes(graph: onnx.GraphProto, nodes: Iterable[NodeProto]) -> None:
    """Give a graph these nodes, some of which may be its own, in place of those that it has."""
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
