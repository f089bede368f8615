"""Joined operators give what the steps gave, to the bit."""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from spanwise.exporting import export_model
from spanwise.exporting.eight_bits import quantize
from spanwise.exporting.fusing import fuse
from tests.readers_zoo import FAMILIES, save_reader

Logits = list[NDArray[np.float32]]

# What these do to their scores, or to queries and keys before, is more than scaling and masking.
LEFT_ALONE = {"modernbert", "deberta-v2", "mpnet"}


def kinds(file: Path) -> Counter[str]:
    """How many there are of each operator; a branch and its other count as one."""
    nodes = onnx.load(file).graph.node
    choices = [[a.g for a in node.attribute] for node in nodes if node.op_type == "If"]
    inside = [branches[0].node for branches in choices]
    return Counter(node.op_type for part in (nodes, *inside) for node in part)


def run(file: Path, lengths: Sequence[int]) -> Logits:
    """Logits of a batch of windows so long, as far as they are of tokens."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    ids = np.random.default_rng(0).integers(1, 60, mask.shape) * mask
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    found = session.run(
        ["start_logits", "end_logits"],
        {node.name: given[node.name] for node in session.get_inputs()},
    )
    return [logits[mask == 1] for logits in found]


def assert_joined(file: Path, *, attention: bool) -> None:
    """Joining changes no bit, in floats and in eight bits."""
    for in_eight_bits in (False, True):
        if in_eight_bits:
            quantize(file, kept=1)
        steps = file.with_name("steps.onnx")
        joined = Path(shutil.copy(file, file.with_name("joined.onnx")))
        shutil.copy(file, steps)
        fuse(joined)
        onnx.checker.check_model(joined)
        before, after = kinds(steps), kinds(joined)
        assert after["Attention"] == (before["Softmax"] if attention else 0)
        assert after["Softmax"] == before["Softmax"] - after["Attention"]
        assert after["If"] == after["Attention"]
        assert after["FastGelu"] == before["Gelu"] - after["Gelu"]
        for lengths in ([20, 13, 2], [20, 20], [20]):
            for one, other in zip(run(steps, lengths), run(joined, lengths), strict=True):
                np.testing.assert_array_equal(one, other)


def test_attention_is_joined_to_the_bit(exported: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(exported / "model.onnx", tmp_path))
    assert_joined(file, attention=True)
    assert kinds(tmp_path / "joined.onnx")["FastGelu"] == kinds(file)["Gelu"]


def test_an_export_in_eight_bits_is_joined(eight_bits: Path, exported: Path) -> None:
    found = kinds(eight_bits / "model.onnx")
    assert (found["Softmax"], found["Gelu"]) == (0, 0)
    assert min(found["Attention"], found["FastGelu"]) > 0
    assert kinds(exported / "model.onnx")["Attention"] == 0  # whoever else reads it may not know it


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_joined_to_the_bit(family: str, tmp_path: Path) -> None:
    done = export_model(save_reader(tmp_path / "reader", family), tmp_path / "out")
    assert_joined(done.folder / "model.onnx", attention=family not in LEFT_ALONE)


@pytest.mark.parametrize(("kind", "shape"), [("tanh", (4,)), ("none", (4,)), ("tanh", (1, 4))])
def test_a_gelu_is_joined_by_way_of_tanh_and_with_a_bias_alone(
    tmp_path: Path, kind: str, shape: tuple[int, ...]
) -> None:
    values: list[str | int | None] = ["batch", "tokens", 4]
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["states", "bias"], ["sum"], "add"),
            helper.make_node("Gelu", ["sum"], ["out"], "gelu", approximate=kind),
        ],
        "gelu",
        [helper.make_tensor_value_info("states", TensorProto.FLOAT, values)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, values)],
        [numpy_helper.from_array(np.ones(shape, np.float32), "bias")],
    )
    file = tmp_path / "model.onnx"
    opset = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), file)
    fuse(file)
    joined = kind == "tanh" and len(shape) == 1
    assert kinds(file) == ({"FastGelu": 1} if joined else {"Add": 1, "Gelu": 1})


def attention(mask: list[str | int | None], scale: float, key_width: int) -> onnx.ModelProto:
    """Attention of two heads of four, in steps."""
    whole: list[str | int | None] = ["batch", "tokens", 8]
    node = helper.make_node
    nodes = [
        node("Concat", ["batch", "tokens", "two", "four"], ["by_head"], "by_head", axis=0),
        node("Concat", ["batch", "tokens", "eight"], ["whole"], "whole", axis=0),
        *(node("Reshape", [name, "by_head"], [f"{name}s"], f"{name}s") for name in ("q", "k", "v")),
        node("Transpose", ["qs"], ["qt"], "qt", perm=[0, 2, 1, 3]),
        node("Transpose", ["ks"], ["kt"], "kt", perm=[0, 2, 3, 1]),
        node("Transpose", ["vs"], ["vt"], "vt", perm=[0, 2, 1, 3]),
        node("MatMul", ["qt", "kt"], ["products"], "products"),
        node("Mul", ["products", "scale"], ["scaled"], "scaled"),
        node("Add", ["scaled", "mask"], ["scores"], "scores"),
        node("Softmax", ["scores"], ["shares"], "shares", axis=-1),
        node("MatMul", ["shares", "vt"], ["sums"], "sums"),
        node("Transpose", ["sums"], ["back"], "back", perm=[0, 2, 1, 3]),
        node("Reshape", ["back", "whole"], ["out"], "out"),
    ]
    keys: list[str | int | None] = ["batch", "keys", key_width]
    shapes = {"q": whole, "k": keys, "v": whole, "mask": mask}
    sizes = {"two": 2, "four": 4, "eight": 8}
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "attention",
        [
            *(value(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()),
            *(value(name, TensorProto.INT64, [1]) for name in ("batch", "tokens")),
        ],
        [value("out", TensorProto.FLOAT, whole)],
        [
            *(numpy_helper.from_array(np.array([n]), name) for name, n in sizes.items()),
            numpy_helper.from_array(np.array(scale, np.float32), "scale"),
        ],
        value_info=[value("qs", TensorProto.FLOAT, ["batch", "tokens", 2, 4])],
    )
    opset = [helper.make_opsetid("", 21)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


@pytest.mark.parametrize(
    ("mask", "scale", "key_width", "joined"),
    [
        (["batch", 1, "tokens", "tokens"], 0.5, 8, True),
        (["batch", 1, 1, "tokens"], 0.5, 8, False),
        (["tokens"], 0.5, 8, False),
        (["batch", 1, "tokens", "tokens"], -0.5, 8, False),
        (["batch", 1, "tokens", "tokens"], 0.5, 16, False),
    ],
)
def test_attention_that_the_operator_does_not_take_keeps_its_steps(
    tmp_path: Path, mask: list[str | int | None], scale: float, key_width: int, *, joined: bool
) -> None:
    file = tmp_path / "model.onnx"
    onnx.save(attention(mask, scale, key_width), file)
    fuse(file)
    assert kinds(file)["Attention"] == joined
    assert kinds(file)["Softmax"] == (not joined)


def test_a_mask_is_read_where_it_changes_anything(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    onnx.save(attention(["batch", 1, "tokens", "tokens"], 0.5, 8), file)
    steps = onnx.load(file)
    fuse(file)
    (choice,) = [node for node in onnx.load(file).graph.node if node.op_type == "If"]
    asked = {a.name: len(a.g.node[0].input) for a in choice.attribute}
    assert asked == {"then_branch": 4, "else_branch": 3}
    altered = onnx.load(file)  # the branch without a mask gives something else
    (choice,) = [node for node in altered.graph.node if node.op_type == "If"]
    (branch,) = [a.g.node[0] for a in choice.attribute if a.name == "else_branch"]
    (scale,) = [a for a in branch.attribute if a.name == "scale"]
    scale.f *= 2
    random = np.random.default_rng(0)
    given = {name: random.normal(size=(2, 5, 8)).astype(np.float32) for name in ("q", "k", "v")}
    given |= {"batch": np.array([2]), "tokens": np.array([5])}
    sessions = [
        onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        for graph in (steps.SerializeToString(), file.read_bytes(), altered.SerializeToString())
    ]
    masks = [np.zeros((2, 1, 5, 5), np.float32) for _ in range(4)]
    masks[1][1, 0, 4, 0] = -1e9  # one key hidden from one token
    masks[2][0, 0, 0, 3] = -np.inf
    masks[3][0, 0, 2, 1] = 0.5  # a mask may also favour
    outs = []
    for mask in masks:
        one, other, third = (
            np.asarray(s.run(["out"], given | {"mask": mask})[0]) for s in sessions
        )
        np.testing.assert_array_equal(one, other)
        assert np.array_equal(other, third) == mask.any()
        outs.append(one)
    assert all(np.abs(out - outs[0]).max() > 1e-3 for out in outs[1:])
