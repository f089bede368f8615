"""Attention in float32 is attention, under autocast and without."""

import copy
from pathlib import Path

import pytest
import torch
import transformers

from spanwise.model import load_reader_model, quicken_attention, save_model
from tests.readers_zoo import FAMILIES, save_reader

# DeBERTa and MPNet have an attention of their own, which is left alone.
OWN = {"deberta-v2", "mpnet"}


def logits_and_gradients(model: torch.nn.Module, *, mixed: bool) -> torch.Tensor:
    """Of a padded batch, all in one row."""
    ids = torch.arange(1, 31).view(3, 10) % 20 + 5
    mask = (torch.arange(10) < torch.tensor([[10], [4], [7]])).long()
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
        output = model(input_ids=ids * mask, attention_mask=mask)
    ((output.start_logits - output.end_logits).float() * mask).square().sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    found = [output.start_logits * mask, output.end_logits * mask, *gradients]
    return torch.cat([values.float().flatten() for values in found])


@pytest.mark.parametrize("family", FAMILIES)
def test_values_and_gradients_are_those_of_the_plain_model(family: str, tmp_path: Path) -> None:
    plain = load_reader_model(save_reader(tmp_path / "reader", family), {"kind": "linear"})
    quick = copy.deepcopy(plain)
    quicken_attention(quick)
    named = [getattr(model.config, "_attn_implementation") for model in (plain, quick)]  # noqa: B009
    assert (named[0] != named[1]) == (family not in OWN)
    exact = logits_and_gradients(plain, mixed=False)
    assert torch.equal(logits_and_gradients(quick, mixed=False), exact)
    far, near = ((logits_and_gradients(m, mixed=True) - exact).norm() for m in (plain, quick))
    assert near <= 2 * far  # rounding, all of it


def test_kernels_see_float32_under_autocast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    kernel = torch.nn.functional.scaled_dot_product_attention

    def look(query: torch.Tensor, *args: object, **options: object) -> torch.Tensor:
        seen.append((query.dtype, torch.is_autocast_enabled("cpu")))
        output: torch.Tensor = kernel(query, *args, **options)  # type: ignore[arg-type]
        return output

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", look)
    model = load_reader_model(save_reader(tmp_path / "reader"), {"kind": "linear"})
    logits_and_gradients(model, mixed=True)
    assert set(seen) == {(torch.bfloat16, True)}
    seen.clear()
    quicken_attention(model)
    logits_and_gradients(model, mixed=True)
    assert set(seen) == {(torch.float32, False)}


def test_a_saved_model_knows_nothing_of_it(tmp_path: Path) -> None:
    folder = save_reader(tmp_path / "reader")
    model = load_reader_model(folder, {"kind": "linear"})
    quicken_attention(model)
    save_model(model, tmp_path / "saved")
    assert "spanwise" not in (tmp_path / "saved/config.json").read_text()
    again = transformers.AutoModelForQuestionAnswering.from_pretrained(tmp_path / "saved")
    assert again.config._attn_implementation == "sdpa"
