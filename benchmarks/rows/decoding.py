"""Logits: how fast the best answers are found."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from transformers import AutoTokenizer

from benchmarks import inputs, usual_way
from benchmarks.measure import Result, compare, interleave
from benchmarks.rows.shared import WINDOW, DisagreementError, Examples
from spanwise import (
    Calibration,
    DecodeSettings,
    PairTokenizer,
    make_windows,
)
from spanwise.batching import collate, plan_batches
from spanwise.decoding import Decoder
from spanwise.schema import Batch, Logits


def decode(examples: Examples) -> list[Result]:
    """The best answers from logits."""
    examples = inputs.one_answer(examples)[:5000]
    theirs = AutoTokenizer.from_pretrained(str(inputs.encoder()))
    tokenizer = PairTokenizer.from_folder(inputs.encoder())
    features = list(usual_way.make_features(usual_way.to_rows(examples), theirs))
    cut = make_windows(examples, tokenizer, WINDOW)
    random = np.random.default_rng(0)
    shape = (2, len(cut), usual_way.MAX_LENGTH)
    padded = random.standard_normal(shape, dtype=np.float32)
    batches = []
    plan = plan_batches(cut.lengths, batch_size=256)
    for rows in plan:
        batch = collate(cut, rows, pad_token_id=tokenizer.pad_token_id)
        start, end = padded[:, rows, : batch.input_ids.shape[1]].copy()
        batches.append((batch, Logits(start_logits=start, end_logits=end)))
    best = [span for pair in batches for span in _check_decoding(examples, *pair)]
    numbered = zip(np.concatenate(plan), best, strict=True)
    missed = np.mean([_misses(padded[:, n], span) for n, span in numbered if span])
    ids = [example.id for example in examples]
    contexts = [[example.context] for example in examples]
    settings = DecodeSettings(n_best=usual_way.N_BEST, max_answer_tokens=usual_way.MAX_ANSWER)
    pool = ThreadPoolExecutor(2)

    def ours() -> None:
        decoder = Decoder(settings, Calibration())
        list(pool.map(lambda pair: decoder.add(*pair), batches))
        decoder.predictions(ids, contexts, top_k=1)

    def usual() -> None:
        usual_way.answer_questions(examples, features, *padded)

    def read() -> None:
        for _, logits in batches:
            logits.start_logits.max(axis=1)
            logits.end_logits.max(axis=1)

    rates = interleave({"usual": usual, "ours": ours, "limit": read}, amount=len(cut))
    return [
        Result(
            row="decode", what="exact 20-best decoding, random logits", unit="windows/s",
            target=20, limit=f"{np.median(rates['limit']):,.0f}: a maximum of each row, one thread",
            questions=len(examples),
            agreement=f"equal to brute force; the usual way misses the best span of {missed:.0%}",
            **compare(rates, "ours"),
        )
    ]  # fmt: skip


def _check_decoding(
    examples: Examples, batch: Batch, logits: Logits
) -> Iterator[tuple[int, int] | None]:
    """Compare some windows with all their spans; gives the tokens of the best, else None."""
    settings = DecodeSettings(n_best=usual_way.N_BEST, max_answer_tokens=usual_way.MAX_ANSWER)
    for row in range(len(batch.example)):
        edges = batch.edges[row]
        (tokens,) = np.nonzero(edges[:, 0] >= 0)
        # Where tokens share a character, a span is not its pair of tokens.
        if row % 5 or (np.diff(edges[tokens].ravel()) < 0).any():
            yield None
            continue
        pair = (logits.start_logits[row, tokens], logits.end_logits[row, tokens])
        scores = pair[0][:, None] + pair[1]
        length = np.arange(len(tokens)) - np.arange(len(tokens))[:, None]
        scores[(length < 0) | (length >= settings.max_answer_tokens)] = -np.inf
        order = np.argsort(-scores, axis=None, kind="stable")[: settings.n_best]
        first, last = np.unravel_index(order, scores.shape)
        expected = zip(
            edges[tokens[first], 0].tolist(), edges[tokens[last], 1].tolist(), strict=True
        )
        this = slice(row, row + 1)
        alone = Batch(**{name: values[this] for name, values in vars(batch).items()})
        decoder = Decoder(settings, Calibration())
        decoder.add(
            replace(alone, example=np.zeros(1, np.int32)),
            Logits(start_logits=logits.start_logits[this], end_logits=logits.end_logits[this]),
        )
        context = examples[batch.example[row]].context
        (found,) = decoder.predictions(["0"], [[context]])
        if [(answer.start, answer.end) for answer in found.answers] != list(expected):
            raise DisagreementError(f"the spans of a window of example {batch.example[row]}")
        yield int(tokens[first[0]]), int(tokens[last[0]])


def _misses(logits: NDArray[np.float32], best: tuple[int, int]) -> bool:
    """Whether a token of the best span is not among the best 20, padding and question included."""
    ranked = np.argsort(logits, axis=1)[:, -usual_way.N_BEST :]
    return best[0] not in ranked[0] or best[1] not in ranked[1]
