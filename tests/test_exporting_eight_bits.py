"""Graphs in eight bits: what is stored, and how far a few large values are felt."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from spanwise.exporting.eight_bits import quantize

Floats = NDArray[np.float32]

VOCABULARY, WIDTH = 50, 16
RANDOM = np.random.default_rng(0)
TABLE = RANDOM.normal(size=(VOCABULARY, WIDTH)).astype(np.float32)
TABLE[7] *= 1000  # a token whose values are far from the others'
TABLE[8] = 0
WEIGHTS = {name: RANDOM.normal(size=(WIDTH, WIDTH)).astype(np.float32) for name in ("one", "two")}
HEAD = RANDOM.normal(size=(WIDTH, 2)).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Tokens are looked up, go through two products side by side, are added, and read by a head."""
    return save(
        tmp_path,
        helper.make_node("Gather", ["table", "ids"], ["states"], "lookup"),
        helper.make_node("MatMul", ["states", "one"], ["first"], "product_one"),
        helper.make_node("MatMul", ["states", "two"], ["second"], "product_two"),
        helper.make_node("Add", ["first", "second"], ["sum"], "add"),
        helper.make_node("MatMul", ["sum", "head"], ["logits"], "product_head"),
    )


def save(folder: Path, *nodes: onnx.NodeProto) -> Path:
    """A graph from `ids` to `logits` over the weights."""
    tensors = {"table": TABLE, "head": HEAD} | WEIGHTS
    graph = helper.make_graph(
        nodes,
        "reader",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "tokens", 2])],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    path = folder / "model.onnx"
    opset = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def run(file: Path, ids: list[int]) -> Floats:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"ids": np.array([ids], np.int64)})
    return np.asarray(logits[0], np.float32)


def held(file: Path) -> dict[str, NDArray[Any]]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(file).graph.initializer}


def test_weights_are_stored_in_eight_bits_and_the_head_is_not(file: Path) -> None:
    quantize(file, kept=1)
    tensors = held(file)
    np.testing.assert_array_equal(tensors["head"], HEAD)
    for name, weights in {"table": TABLE, **WEIGHTS}.items():
        assert name not in tensors
        assert tensors[f"{name}_quantized"].dtype == np.int8
        scale = tensors[f"{name}_scale"]
        back = tensors[f"{name}_quantized"] * scale
        assert np.all(np.abs(back - weights) <= 0.51 * np.broadcast_to(scale, weights.shape))


def test_sums_of_products_stay_within_16_bits(file: Path) -> None:
    quantize(file, kept=1)
    tensors = held(file)
    for name in WEIGHTS:
        largest = int(np.abs(tensors[f"{name}_quantized"].astype(int)).max())
        assert 2 * 255 * largest <= 2**15  # two at a time, as AVX2 adds them


def test_a_token_of_large_values_leaves_the_others_as_they_are(file: Path) -> None:
    ids = [1, 7, 2, 8, 3]
    exact = run(file, ids)
    quantize(file, kept=1)
    found = run(file, ids)
    apart = np.abs(found - exact).max(axis=1) / np.abs(exact).max(axis=1, initial=1e-9)
    assert apart[[0, 1, 2, 4]].max() < 0.05
    np.testing.assert_array_equal(found[3], 0)  # all zeros stay so


@pytest.mark.parametrize("name", ["table", "one"])
def test_a_weight_that_is_used_elsewhere_too_stays_in_floats(file: Path, name: str) -> None:
    values = held(file)[name]
    model = onnx.load(file)
    model.graph.node.extend([helper.make_node("ReduceSum", [name], ["all"], "sum_of_all")])
    model.graph.output.extend([helper.make_tensor_value_info("all", TensorProto.FLOAT, [1, 1])])
    onnx.save(model, file)
    quantize(file, kept=1)
    np.testing.assert_array_equal(held(file)[name], values)
    assert held(file)["two_quantized"].dtype == np.int8


def test_after_gelu_small_and_large_tokens_keep_their_values(tmp_path: Path) -> None:
    file = save(
        tmp_path,
        helper.make_node("Gather", ["table", "ids"], ["states"], "lookup"),
        helper.make_node("Gelu", ["states"], ["active"], "gelu"),
        helper.make_node("MatMul", ["active", "one"], ["first"], "product_one"),
        helper.make_node("MatMul", ["first", "head"], ["logits"], "product_head"),
    )
    ids = [1, 7, 2, 8, 3]
    exact = run(file, ids)
    quantize(file, kept=1)
    apart = np.abs(run(file, ids) - exact).max(axis=1)
    assert np.all(apart <= 0.05 * np.abs(exact).max(axis=1) + 1e-6)


def test_gelu_of_the_head_stays_as_it_is(tmp_path: Path) -> None:
    file = save(
        tmp_path,
        helper.make_node("Gather", ["table", "ids"], ["states"], "lookup"),
        helper.make_node("Gelu", ["states"], ["active"], "gelu"),
        helper.make_node("MatMul", ["active", "one"], ["first"], "product_one"),
        helper.make_node("Gelu", ["first"], ["second"], "gelu_head"),
        helper.make_node("MatMul", ["second", "head"], ["logits"], "product_head"),
    )
    quantize(file, kept=1)
    gelus = [node for node in onnx.load(file).graph.node if node.op_type == "Gelu"]
    kinds = [[attribute.s for attribute in node.attribute] for node in gelus]
    assert kinds == [[b"tanh"], []]


def test_logits_do_not_depend_on_other_tokens_of_a_call(file: Path) -> None:
    quantize(file, kept=1)
    np.testing.assert_array_equal(run(file, [1, 7, 2])[[0, 2]], run(file, [1, 2]))


def test_products_of_as_many_tokens_share_what_stands_for_zero(tmp_path: Path) -> None:
    file = save(
        tmp_path,
        helper.make_node("Gather", ["table", "ids"], ["states"], "lookup"),
        helper.make_node("MatMul", ["states", "one"], ["first"], "product_one"),
        helper.make_node("MatMul", ["first", "two"], ["second"], "product_two"),
        helper.make_node("MatMul", ["second", "head"], ["logits"], "product_head"),
    )
    alone = run(quantized(file), [1, 7, 2])
    model = onnx.load(file)
    for name in ("states", "first"):
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "", WIDTH])
        model.graph.value_info.append(value)
    for known, arrays in ((("tokens",) * 2, 1), (("tokens", "others"), 2), (("", ""), 2)):
        for value, tokens in zip(model.graph.value_info[-2:], known, strict=True):
            value.type.tensor_type.shape.dim[1].dim_param = tokens
        onnx.save(model, file)
        made = quantized(file)
        kinds = [node.op_type for node in onnx.load(made).graph.node]
        assert kinds.count("ConstantOfShape") == arrays
        np.testing.assert_array_equal(run(made, [1, 7, 2]), alone)


def quantized(file: Path) -> Path:
    """A copy in eight bits."""
    copy = file.with_name("quantized.onnx")
    copy.write_bytes(file.read_bytes())
    quantize(copy, kept=1)
    return copy
