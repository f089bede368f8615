"""Steps of a graph joined into operators that ONNX Runtime computes at once.

They give the same bits, but for tokens that see none. This module knows nothing about models or
weights.
"""

from pathlib import Path
from typing import Any

import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper
from onnxscript.rewriter import pattern, rewrite

from spanwise.exporting.eight_bits import put_nodes

_OPSET = 23  # of the operator `Attention`


def fuse(file: Path) -> None:
    """Join what attention is made of, and a bias with the GELU by way of tanh that reads it.

    Attention that does more to its scores than scale and mask them is left as it is. What is joined
    reads no mask where that hides nothing, as in a window without padding.

    Args:
        file: a graph from `write_graph`, changed in place.
    """
    model = rewrite(onnx.load(file), pattern_rewrite_rules=_RULES)
    if any(node.op_type == "Attention" for node in model.graph.node):
        for opset in model.opset_import:
            opset.version = max(opset.version, _OPSET) if opset.domain == "" else opset.version
    _spare_masks(model.graph)
    onnx.save(model, file)


def _steps_of_attention(
    op: Any, query: Any, key: Any, value: Any, mask: Any, scale: Any, by_head: Any, whole: Any
) -> Any:
    queries = op.Transpose(op.Reshape(query, by_head, _outputs=["split"]), perm=[0, 2, 1, 3])
    keys = op.Transpose(op.Reshape(key, by_head), perm=[0, 2, 3, 1])
    values = op.Transpose(op.Reshape(value, by_head), perm=[0, 2, 1, 3])
    scores = op.Add(op.Mul(op.MatMul(queries, keys), scale), mask)
    sums = op.MatMul(op.Softmax(scores, axis=-1), values)
    back = op.Transpose(sums, perm=[0, 2, 1, 3])
    return op.Reshape(back, whole, _outputs=["joined"])


def _attention(
    op: Any, query: Any, key: Any, value: Any, mask: Any, scale: Any, split: Any, **_: Any
) -> Any:
    heads = split.shape[2]
    by = scale.const_value.numpy().item()
    return op.Attention(query, key, value, mask, q_num_heads=heads, kv_num_heads=heads, scale=by)


def _is_attention(
    _: Any, query: Any, key: Any, value: Any, mask: Any, scale: Any, split: Any, joined: Any,
    **__: Any,
) -> bool:  # fmt: skip
    """Whether heads are split off and joined again, and the mask is of all pairs of tokens."""
    if any(x.shape is None for x in (query, key, value, mask, split, joined)):
        return False
    if scale.const_value is None or scale.const_value.size != 1:
        return False
    if not len(split.shape) == len(mask.shape) == 4:
        return False
    batch, tokens, heads, size = split.shape
    if not (isinstance(heads, int) and isinstance(size, int)):
        return False
    whole = (batch, tokens, heads * size)
    shapes_fit = query.shape == joined.shape == whole
    widths = {key.shape[-1], value.shape[-1]}
    pairs = (mask.shape[-2], mask.shape[-1])
    is_positive = bool(scale.const_value.numpy().item() > 0)
    return shapes_fit and widths == {heads * size} and pairs == (tokens, tokens) and is_positive


def _spare_masks(graph: GraphProto) -> None:
    """Let attention choose: its operator copies a mask for every head."""
    nodes: list[NodeProto] = []
    known = set()
    for node in graph.node:
        if node.op_type != "Attention":
            nodes.append(node)
            continue
        if (mask := node.input[3]) not in known:
            known.add(mask)
            nodes += _hides(mask)
        nodes.append(_choice(node, mask))
    put_nodes(graph, nodes)


def _hides(mask: str) -> list[NodeProto]:
    """Whether any of a mask is other than 0."""
    return [
        helper.make_node("Abs", [mask], [f"{mask}_sizes"]),
        helper.make_node("ReduceMax", [f"{mask}_sizes"], [f"{mask}_largest"], keepdims=0),
        helper.make_node("Cast", [f"{mask}_largest"], [f"{mask}_hides"], to=TensorProto.BOOL),
    ]


def _choice(attention: NodeProto, mask: str) -> NodeProto:
    """Attention with its mask if that hides anything, else without."""
    (out,) = attention.output
    branches = {}
    for branch, inputs in ("then_branch", 4), ("else_branch", 3):
        node = NodeProto.FromString(attention.SerializeToString())
        del node.input[inputs:]
        node.output[0] = f"{out}_{branch}"
        value = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)
        branches[branch] = helper.make_graph([node], node.output[0], [], [value])
    return helper.make_node("If", [f"{mask}_hides"], [out], attention.name, **branches)


def _steps_of_gelu(op: Any, values: Any, bias: Any) -> Any:
    return op.Gelu(op.Add(values, bias), approximate="tanh")


def _gelu(op: Any, values: Any, bias: Any) -> Any:
    return op.FastGelu(values, bias, _domain="com.microsoft")


def _is_bias(_: Any, values: Any, bias: Any, **__: Any) -> bool:
    if bias.const_value is None or values.shape is None or len(values.shape) < 2:
        return False
    return tuple(bias.shape) == (values.shape[-1],)


_RULES = (
    pattern.RewriteRule(_steps_of_attention, _attention, _is_attention),
    pattern.RewriteRule(_steps_of_gelu, _gelu, _is_bias),
)
