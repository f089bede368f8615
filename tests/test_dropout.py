"""Fast dropout is dropout, and stands wherever dropout stood."""

import pytest
import torch
from torch import nn

from spanwise.model import FastDropout, quicken_dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_right_share_is_dropped_and_the_mean_stays(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    dropped = FastDropout(p)(torch.ones(3, 100_001, dtype=dtype))
    assert dropped.dtype == dtype
    zeros = dropped == 0
    assert zeros.float().mean().item() == pytest.approx(p, abs=0.005)
    assert zeros.float().mean(dim=1).tolist() == pytest.approx([p] * 3, abs=0.01)
    torch.testing.assert_close(dropped[~zeros].unique(), torch.tensor([1 / (1 - p)], dtype=dtype))
    # No draw shows in its neighbours: they come from one random number.
    together = (zeros[:, 1:] & zeros[:, :-1]).float().mean().item()
    assert together == pytest.approx(p * p, abs=0.01)


def test_shares_that_round_to_all_drop_almost_all() -> None:
    dropped = FastDropout(0.999995).train()(torch.ones(1_000_000))
    assert 0 < (dropped != 0).sum() < 100


def test_gradients_flow_through_what_was_kept() -> None:
    values = torch.randn(40, 25, requires_grad=True)
    dropped = FastDropout(0.3)(values)
    dropped.sum().backward()
    expected = torch.where(dropped == 0, 0.0, 1 / 0.7)
    torch.testing.assert_close(values.grad, expected)


def test_a_seed_gives_one_draw_and_evaluation_drops_nothing() -> None:
    values, drop = torch.randn(50), FastDropout(0.5)
    torch.manual_seed(3)
    one, two = drop(values), drop(values)
    torch.manual_seed(3)
    assert torch.equal(drop(values), one)
    assert not torch.equal(one, two)
    assert drop.eval()(values) is values
    assert FastDropout(0.0)(values) is values


def test_it_stands_where_dropout_stood() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.2))
            self.other = nn.Dropout2d(0.3)
            self.all = nn.Dropout(1.0)

    block = Block()
    block.inner.eval()
    quicken_dropout(block)
    fast = block.inner[1]
    assert isinstance(fast, FastDropout)
    assert (fast.p, fast.training) == (0.2, False)
    assert type(block.other) is nn.Dropout2d
    assert type(block.all) is nn.Dropout  # nothing is left to scale up
