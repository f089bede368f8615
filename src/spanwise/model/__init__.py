"""Encoders with a span head: made, loaded under audit, frozen, saved.

    heads ─┬─ loading            a checkpoint folder becomes a model, and back
           ├─ exported           weights taken back out of an exported graph
           ├─ packing            a batch read as one row without padding
           └─ traits ─ freezing  what a model takes; parts of it taken out of training
    attention, dropout, linear   what a processor does faster than PyTorch lets it

A linear head is the plain transformers `…ForQuestionAnswering` class, which anyone can load. Any
other head is a row of `HEADS` over an `AutoModel` encoder; its weights lie beside the encoder's in
`head.safetensors`. This package knows nothing about text, batches or training.
"""

from spanwise.errors import MissingExtra

try:
    from spanwise.model.attention import quicken_attention
    from spanwise.model.dropout import FastDropout, quicken_dropout
    from spanwise.model.exported import unexported
    from spanwise.model.freezing import Freeze, freeze
    from spanwise.model.heads import HEAD_FILE, HEADS, MlpHead, SpanLogits, SpanModel, is_of_head
    from spanwise.model.linear import FastLinear, quicken_linear
    from spanwise.model.loading import (
        load_reader_model,
        load_training_model,
        save_model,
    )
    from spanwise.model.packing import PACKABLE, PackedModel
    from spanwise.model.traits import (
        accepts_type_ids,
        count_parameters,
        gives_spans,
        is_causal,
        position_limit,
    )
except ModuleNotFoundError as error:
    if error.name in {"torch", "transformers"}:
        raise MissingExtra(error.name, "torch") from None
    raise

__all__ = [
    "HEADS",
    "HEAD_FILE",
    "PACKABLE",
    "FastDropout",
    "FastLinear",
    "Freeze",
    "MlpHead",
    "PackedModel",
    "SpanLogits",
    "SpanModel",
    "accepts_type_ids",
    "count_parameters",
    "freeze",
    "gives_spans",
    "is_causal",
    "is_of_head",
    "load_reader_model",
    "load_training_model",
    "position_limit",
    "quicken_attention",
    "quicken_dropout",
    "quicken_linear",
    "save_model",
    "unexported",
]
