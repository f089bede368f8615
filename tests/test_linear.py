"""Fast linear layers are linear layers, and stand wherever those stood."""

import copy

import pytest
import torch
from torch import nn

from spanwise.model import FastLinear, quicken_linear

pytestmark = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this processor has no such kernels"
)


def pair(*, bias: bool = True) -> tuple[nn.Linear, nn.Linear]:
    """One layer plain and one fast, with the same weights."""
    torch.manual_seed(0)
    plain = nn.Linear(48, 20, bias=bias)
    fast = nn.Sequential(copy.deepcopy(plain))
    quicken_linear(fast)
    assert isinstance(fast[0], FastLinear)
    return plain, fast[0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(48,), (7, 48), (3, 5, 48), (2, 3, 5, 48), (0, 48)])
def test_values_and_gradients_are_those_of_a_plain_layer(
    shape: tuple[int, ...], *, bias: bool
) -> None:
    weights = torch.randn(*shape[:-1], 20)
    states, found = torch.randn(shape), []
    for layer in pair(bias=bias):
        given = states.clone().requires_grad_()
        output = layer(given)
        (output * weights).sum().backward()
        found.append([output, given.grad, *(p.grad for p in layer.parameters())])
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected)


def test_a_column_of_a_larger_tensor_is_read_right() -> None:
    plain, fast = pair()
    states = torch.randn(48, 9, 5).permute(2, 1, 0)
    torch.testing.assert_close(fast(states), plain(states))


def test_gradients_have_gradients() -> None:
    states, found = torch.randn(3, 48), []
    for layer in pair():
        given = states.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(layer(given).pow(2).sum(), given, create_graph=True)
        torch.autograd.backward([gradient.pow(2).sum()])
        found.append([given.grad, layer.weight.grad])
    for expected, value in zip(*found, strict=True):
        assert expected is not None
        torch.testing.assert_close(value, expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_can_be_traced() -> None:
    plain, fast = pair()
    states = torch.randn(3, 48)
    traced = torch.jit.trace(fast, states)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(traced(states), plain(states))
    functional = torch.func.grad(lambda x: fast(x).sum())(states)
    torch.testing.assert_close(functional, plain.weight.sum(dim=0).expand(3, 48))


def test_a_wrong_width_is_told_by_pytorch() -> None:
    _, fast = pair()
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        fast(torch.randn(5, 40))


def test_only_what_is_trained_gets_a_gradient() -> None:
    _, fast = pair()
    fast.weight.requires_grad = False
    fast(torch.randn(3, 48)).sum().backward()
    assert fast.weight.grad is None
    assert fast.bias.grad is not None


def test_other_types_are_left_to_pytorch() -> None:
    plain, fast = pair()
    states = torch.randn(3, 48)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert fast(states).dtype == torch.bfloat16
        assert torch.equal(fast(states), plain(states))
    assert torch.equal(fast.double()(states.double()), plain.double()(states.double()))


def test_it_stands_where_a_linear_layer_stood_and_keeps_its_weights() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Bilinear(2, 2, 2)})
    before = copy.deepcopy(model.state_dict())
    quicken_linear(model)
    assert [type(module) for module in model.values()] == [FastLinear, nn.Bilinear]
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_other_processors_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    model = nn.Sequential(nn.Linear(2, 3))
    quicken_linear(model)
    assert type(model[0]) is nn.Linear
