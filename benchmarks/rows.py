"""The rows of the table: each sees that both sides agree, then measures them in turn."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from benchmarks import inputs, usual_way
from benchmarks.measure import Result, Spread, compare, interleave, matmul_rate, peak_memory
from spanwise import (
    Calibration,
    DecodeSettings,
    Example,
    FitConfig,
    PairTokenizer,
    Reader,
    ReaderSettings,
    TrainConfig,
    Windows,
    WindowSettings,
    make_windows,
    score_predictions,
    train,
    write_examples,
)
from spanwise.batching import collate, plan_batches
from spanwise.decoding import Decoder
from spanwise.model import load_training_model
from spanwise.reader import BATCH_TOKENS
from spanwise.schema import Batch, Logits
from spanwise.training import Progress
from spanwise.training.fitting import Batches, MaskedModel, span_loss

Examples = list[Example]

WINDOW = WindowSettings(
    max_length=usual_way.MAX_LENGTH, stride=usual_way.STRIDE, max_question_tokens=300
)
PEERS = Path(__file__).parent / "peers"


class DisagreementError(Exception):
    """The two sides do not compute the same, so their times say nothing."""


def windows(examples: Examples) -> list[Result]:
    """Windows with labels."""
    examples = inputs.one_answer(examples)
    theirs = AutoTokenizer.from_pretrained(str(inputs.encoder()))
    ours = PairTokenizer.from_folder(inputs.encoder())
    rows = usual_way.to_rows(examples)
    features = usual_way.make_features(rows, theirs)
    cut = make_windows(examples, ours, WINDOW)
    _check_windows(cut, features)
    texts = [*{example.context for example in examples}, *{e.question for e in examples}]
    sides: dict[str, Callable[[], None]] = {
        "usual": lambda: _drop(usual_way.make_features(rows, theirs)),
        "ours": lambda: _drop(make_windows(examples, ours, WINDOW)),
        "limit": lambda: _drop(ours.encode_contexts(texts)),
    }
    rates = interleave(sides, amount=len(examples))
    share = np.median(rates["ours"]) / np.median(rates["limit"])
    limit = (
        f"{np.median(rates['limit']):,.0f}: each distinct text tokenised once; ours is {share:.0%}"
    )
    return [
        Result(
            row="windows", what="windows with labels", unit="questions/s", target=8, limit=limit,
            agreement=f"{len(cut):,} windows equal: ids, offsets, labels", **compare(rates, "ours"),
        )
    ]  # fmt: skip


def _drop(_: object) -> None:
    """Let go of what was made."""


def _check_windows(cut: Windows, features: Any) -> None:
    if len(cut) != len(features):
        raise DisagreementError(f"{len(cut)} windows of ours, {len(features)} of the usual way")
    for number, (begin, end) in enumerate(pairwise(cut.row_splits.tolist())):
        feature = features[number]
        places = [list(place) if place else [-1, -1] for place in feature["offset_mapping"]]
        same = (
            feature["input_ids"][: end - begin] == cut.input_ids[begin:end].tolist()
            and places[: end - begin] == cut.offsets[begin:end].tolist()
            and feature["start_positions"] == cut.first[number]
            and feature["end_positions"] == cut.last[number]
        )
        if not same:
            raise DisagreementError(f"window {number} differs: {feature['example_id']}")


def memory(_: Examples) -> list[Result]:
    """Windows of a large set."""
    size, large = 50_000, 1_000_000
    usual = peak_memory("benchmarks.memory", "stream_usual", str(size))
    ours = peak_memory("benchmarks.memory", "stream", str(size))
    most = peak_memory("benchmarks.memory", "stream", str(large))
    limit = f"{large:,} windows of ours streamed: {most:,.0f} MB (target: below 1,000)"
    return [_memory_row("memory", f"cutting {size:,} windows", usual, ours, limit=limit)]


def evaluate(_: Examples) -> list[Result]:
    """Scoring when each question has many windows."""
    small, large = 10_000, 80_000
    usual = peak_memory("benchmarks.memory", "score_usual", str(large))
    ours = peak_memory("benchmarks.memory", "score", str(large))
    less = peak_memory("benchmarks.memory", "score", str(small))
    limit = f"with an eighth of the windows ours held {less:,.0f} MB"
    what = "evaluate, some 5,000 windows, no model"
    return [_memory_row("evaluate", what, usual, ours, limit=limit)]


def _memory_row(row: str, what: str, usual: float, ours: float, *, limit: str) -> Result:
    once = [Spread(median=x, least=x, most=x) for x in (usual, ours, usual / ours)]
    return Result(
        row=row, what=what, unit="MB at the peak", usual=once[0], ours=once[1], ratio=once[2],
        target=1, limit=limit, agreement="the same job in a process of its own, once",
    )  # fmt: skip


def decode(examples: Examples) -> list[Result]:
    """The best answers from logits."""
    examples = inputs.one_answer(examples)[:1500]
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


def fine_tune(examples: Examples) -> list[Result]:
    """Fine-tuning all of MiniLM."""
    examples = inputs.spread_out(inputs.one_answer(examples), 96)
    _check_step(examples)
    features, cut = _both_windows(examples)
    sides = {
        "usual": lambda: _usual_training(features, epochs=1, frozen=False),
        "ours": lambda: _our_training(examples, FitConfig(epochs=1, precision="auto")),
        "fp32": lambda: _our_training(examples, FitConfig(epochs=1, precision="fp32")),
    }
    rates = interleave(sides, amount=len(cut))
    flops = _training_flops(cut)
    results = []
    for name, what, dtype in (
        ("ours", "fine-tune MiniLM", torch.bfloat16), ("fp32", "the same in fp32", torch.float32)
    ):  # fmt: skip
        machine = matmul_rate(dtype)
        share = np.median(rates[name]) * flops / machine
        results.append(
            Result(
                row="fine_tune", what=what, unit="windows/s", target=8,
                limit=f"{machine / flops:.0f}: {flops:.0f} GFLOP a window at {machine:.0f} GFLOP/s "
                f"({str(dtype).removeprefix('torch.')}); ours is {share:.0%}",
                agreement="loss and gradients of one fp32 step within 1e-5 of padding to 512",
                **compare(rates, name),
            )
        )  # fmt: skip
    return results


def frozen(examples: Examples) -> list[Result]:
    """Ten epochs of a head over a frozen encoder."""
    examples = inputs.spread_out(inputs.one_answer(examples), 64)
    features, cut = _both_windows(examples)
    fit = FitConfig(epochs=10, freeze="encoder")
    sides = {
        "usual": lambda: _usual_training(features, epochs=10, frozen=True),
        "ours": lambda: _our_training(examples, fit, whole=True),
    }
    rates = interleave(sides, amount=10 * len(cut))
    return [
        Result(
            row="frozen", what="10 epochs of a head over frozen MiniLM", unit="windows/s",
            target=50, limit="one pass over the real tokens",
            agreement="tests: cached and uncached states within 1e-6 in fp32, 1e-3 in fp16; "
            "ours is timed from reading the data to the saved reader",
            **compare(rates, "ours"),
        )
    ]  # fmt: skip


def _both_windows(examples: Examples) -> tuple[Any, Windows]:
    theirs = AutoTokenizer.from_pretrained(str(inputs.encoder()))
    features = usual_way.make_features(usual_way.to_rows(examples), theirs)
    cut = make_windows(examples, PairTokenizer.from_folder(inputs.encoder()), WINDOW)
    _check_windows(cut, features)
    return features.remove_columns(["offset_mapping", "example_id"]), cut


def _usual_training(features: Any, *, epochs: int, frozen: bool) -> float:
    model = AutoModelForQuestionAnswering.from_pretrained(str(inputs.encoder()))
    model.base_model.requires_grad_(requires_grad=not frozen)
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        usual_way.fine_tune(model, features, Path(scratch), epochs=epochs)
        return time.perf_counter() - began


def _our_training(examples: Examples, fit: FitConfig, *, whole: bool = False) -> float:
    """Seconds of the steps, or of everything from the file to the saved reader."""
    steps: list[Progress] = []
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "train.json"
        write_examples(data, examples, form="squad")
        config = TrainConfig(
            model=str(inputs.encoder()),
            train=(str(data),),
            out=f"{scratch}/run",
            fit=fit,
            window=WINDOW,
        )
        began = time.perf_counter()
        train(config, progress=steps.append)
    return time.perf_counter() - began if whole else steps[-1].seconds


def _check_step(examples: Examples) -> None:
    """Loss and gradients of one step: batches of like length, and all padded to the maximum."""
    folder = inputs.encoder()
    tokenizer = PairTokenizer.from_folder(folder)
    cut = make_windows(examples, tokenizer, WINDOW)
    model = load_training_model(folder, {"kind": "linear"}).eval()
    every = np.arange(len(cut))
    losses, gradients = [], []
    for fit, shortest in (FitConfig(batch_size=16), 0), (FitConfig(batch_size=len(cut)), 512):
        masked = MaskedModel(model)
        model.zero_grad()
        loss = 0.0
        batches = Batches(cut, every, fit, pad_token_id=tokenizer.pad_token_id)
        for batch in map(batches.__getitem__, range(len(batches))):
            labels = batch.pop("labels")
            missing = max(0, shortest - batch["input_ids"].shape[1])
            padded = {name: nn.functional.pad(x, (0, missing)) for name, x in batch.items()}
            part = span_loss(masked(**padded), labels, 2 * len(cut))
            part.backward()  # type: ignore[no-untyped-call]
            loss += part.item()
        losses.append(loss)
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    furthest = max((a - b).abs().max().item() for a, b in zip(*gradients, strict=True))
    if not max(abs(losses[0] - losses[1]), furthest) < 1e-5:
        raise DisagreementError(f"losses {losses}, gradients {furthest:.1e} apart")


def _training_flops(cut: Windows) -> float:
    """GFLOP of a forward and a backward pass over a window, on average."""
    config = json.loads((inputs.encoder() / "config.json").read_text(encoding="utf-8"))
    width, inner = config["hidden_size"], config["intermediate_size"]
    tokens = cut.lengths.astype(float)
    a_token = 2 * (4 * width * width + 2 * width * inner)  # products with weights
    attention = 4 * width * tokens**2  # scores, and sums weighted by them
    forward = config["num_hidden_layers"] * (tokens * a_token + attention)
    return float(3e-9 * forward.mean())  # the backward pass is two such


def answer(examples: Examples) -> list[Result]:
    """Answers from texts, beside the pipeline of transformers 4."""
    folder = inputs.reader()
    if not folder.is_dir() or not (PEERS / ".venv/installed").exists():
        raise FileNotFoundError("run 'make reader benchmarks/peers/.venv/installed' first")
    asked = inputs.spread_out([example for example in examples if example.answers], 200)
    pairs = [(example.question, example.context) for example in asked]
    readers = {
        dtype: Reader.from_pretrained(folder, device="cpu", dtype=dtype)
        for dtype in ("float32", "bfloat16")
    }
    texts: dict[str, list[str]] = {}

    def ask(dtype: str) -> None:
        found = readers[dtype].answer_many(pairs, top_k=1)
        texts[dtype] = [prediction.answers[0].text for prediction in found]

    with _pipeline(folder, pairs, readers["float32"].settings) as lines:

        def usual() -> None:
            texts["usual"] = lines()

        sides = {
            "usual": usual,
            "float32": lambda: ask("float32"),
            "bfloat16": lambda: ask("bfloat16"),
        }
        rates = interleave(sides, amount=len(pairs))
    return [
        Result(
            row="answer", what=f"answering with MiniLM, {dtype}", unit="questions/s", target=target,
            limit=_bare(readers[dtype], asked), agreement=_agree(asked, texts, dtype),
            **compare(rates, dtype),
        )
        for dtype, target in (("float32", 1.35), ("bfloat16", 2.2))
    ]  # fmt: skip


@contextmanager
def _pipeline(
    folder: Path, pairs: Sequence[tuple[str, str]], settings: ReaderSettings
) -> Iterator[Callable[[], list[str]]]:
    """A process that answers all pairs whenever it is called."""
    task = {
        "model": str(folder),
        "pairs": pairs,
        "threads": torch.get_num_threads(),
        "max_length": settings.window.max_length,
        "stride": settings.window.stride,
        "max_answer": settings.decode.max_answer_tokens,
    }
    command = [str(PEERS / ".venv/bin/python"), str(PEERS / "pipeline.py")]
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet
    ) as process:
        into, out = cast(IO[str], process.stdin), cast(IO[str], process.stdout)

        def call() -> list[str]:
            into.write("again\n")
            into.flush()
            return list(json.loads(out.readline()))

        into.write(json.dumps(task) + "\n")
        yield call
        into.close()


def _bare(reader: Reader, asked: Examples) -> str:
    """The model alone over windows of like length, that are cut and padded already."""
    settings = reader.settings.window
    cut = make_windows(asked, reader.tokenizer, settings)
    plan = plan_batches(cut.lengths, batch_tokens=BATCH_TOKENS)
    batches = [collate(cut, rows, pad_token_id=reader.tokenizer.pad_token_id) for rows in plan]
    rates = interleave({"": lambda: _drop([reader.backend(b) for b in batches])}, amount=len(asked))
    return f"{np.median(rates['']):.0f}: the bare model over sorted batches"


def _agree(asked: Examples, texts: Mapping[str, list[str]], dtype: str) -> str:
    f1 = {
        side: score_predictions(
            asked, {e.id: text for e, text in zip(asked, texts[side], strict=True)}
        ).overall["f1"]
        for side in ("usual", dtype)
    }
    equal = np.mean([a == b for a, b in zip(texts["usual"], texts[dtype], strict=True)])
    if f1[dtype] < f1["usual"] - 0.5:
        raise DisagreementError(f"F1 is {f1[dtype]:.2f}, that of the pipeline {f1['usual']:.2f}")
    return f"F1 {f1[dtype]:.1f}, the pipeline's {f1['usual']:.1f}; {equal:.0%} of texts equal"


ROWS: dict[str, Callable[[Examples], list[Result]]] = {
    "windows": windows,
    "memory": memory,
    "decode": decode,
    "evaluate": evaluate,
    "answer": answer,
    "frozen": frozen,
    "fine_tune": fine_tune,
}
