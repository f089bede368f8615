"""One GPU: windows padded against windows packed, in training and in answering.

    python benchmarks/gpu.py --out gpu.json
    python benchmarks/gpu.py --model MINILM --train A.json B.json --dev C.json  # time to F1 as well
    python benchmarks/gpu.py --toy  # all of it on a CPU in under a minute; its figures say nothing

Both sides are first checked against each other, and the run ends there if they disagree. Then they
take turns on the same windows, at the shapes of BERT-base and BERT-large with random weights.
Training is forward, backward and a fused AdamW step, on float32 weights under bf16 autocast as in
`spanwise train`; answering is a forward pass with bf16 weights. Batches come from the CPU's memory
in both. Dropout is BERT's own, but for that of attention, which the packed side does without;
float32 is without TF32. The table is printed last.
"""

import argparse
import json
import platform
import shutil
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import nn

if find_spec("spanwise") is None:  # run from a checkout, with nothing installed
    sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from spanwise.backends import TorchBackend
from spanwise.batching import collate, plan_batches
from spanwise.checkpoints import OFFLINE_ENCODER, fetch_folder
from spanwise.corpus import read_examples
from spanwise.evaluation import fit_calibration, score_spans
from spanwise.model import PACKABLE, PackedModel, load_training_model
from spanwise.reader import Reader
from spanwise.schema import Example, ReaderSettings, Windows, WindowSettings
from spanwise.training.fitting import MaskedModel, span_loss
from spanwise.windows import PairTokenizer, make_windows

Tensors = dict[str, torch.Tensor]
Points = list[dict[str, float]]

LONGEST = WindowSettings().max_length
VOCABULARY = 30522

# Width, layers, heads, width of the feed-forward part.
SHAPES = {"base": (768, 12, 12, 3072), "large": (1024, 24, 16, 4096), "toy": (32, 2, 2, 64)}

# Windows a second on one H200. Training: a published fp16 table, padded to 384. Answering: MLPerf
# Inference v4.1 at 99.9 % and at 99 % of full precision's F1, on SQuAD's own lengths.
ANCHORS = {
    ("train", "base"): "932",
    ("train", "large"): "350",
    ("answer", "large"): "7,994 to 9,224",
}
TARGETS = {("train", "base"): "1,900, then 3,700", ("answer", "large"): "3,200"}


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One side of a race.

    Attributes:
        work: "train" or "answer".
        size: of the model, as in `SHAPES`.
        side: how the windows are laid out.
        features: windows a second, a figure for each turn.
        tokens: tokens a second at the median, padding not counted.
        share: of the measured matrix rate at the median, with padding counted as work.
    """

    work: str
    size: str
    side: str
    features: tuple[float, ...]
    tokens: float
    share: float


def main() -> None:
    """Check, time, print the table."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    options = parse()
    device = options.device
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.machine()
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    check(device)
    rate = matrix_rate(device, 256 if options.toy else 8192)
    lengths = measured_lengths(options) if options.data else drawn_lengths(options.windows)
    timings = [
        timing
        for size in (["toy"] if options.toy else ["base", "large"])
        for work in ("train", "answer")
        for timing in race(work, size, draw_windows(lengths), rate=rate, options=options)
    ]
    curves = time_to_f1(options) if options.train else {}
    if options.out:
        result = {
            "machine": name,
            "versions": versions,
            "matrix_rate": rate,
            "lengths": {"mean": lengths.mean(), "longest": int(lengths.max())},
            "timings": [asdict(timing) for timing in timings],
            "time_to_f1": curves,
        }
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\n{name}, {versions}; bf16 matrix product {rate / 1e12:.2f} TFLOP/s;")
    print(f"{len(lengths)} windows of {lengths.mean():.0f} tokens on average for a side and turn\n")
    print(table(timings))
    print(curve_table(curves))


def parse() -> Namespace:
    """Read the flags; a toy run brings an encoder and data of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--toy", action="store_true", help="all of it, tiny, on the CPU")
    parser.add_argument("--data", help="take the lengths of windows from it; needs --model")
    parser.add_argument("--model", type=Path, help="folder of an encoder to fine-tune")
    parser.add_argument("--train", nargs="*", default=[], help="fine-tune --model on these")
    parser.add_argument("--dev", help="judge the fine-tuned model by it")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=1.5e-4, help="for --model")
    parser.add_argument("--windows", type=int, default=1024, help="for a side and turn")
    parser.add_argument("--batch-size", type=int, default=128, help="windows; --model takes 32")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each side")
    parser.add_argument("--compile", action="store_true", help="race torch.compile too")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    options = parser.parse_args()
    if options.toy:
        sample = Path(__file__).parents[1] / "src" / "spanwise" / "sample"
        options.windows, options.batch_size, options.epochs = 24, 8, 1
        options.model = make_toy_encoder()
        options.data = options.dev = str(sample / "dev.json")
        options.train = [options.dev]
    elif not torch.cuda.is_available():
        parser.error("there is no GPU here; --toy runs on the CPU")
    if (options.data or options.train) and not options.model:
        parser.error("--data and --train need --model, whose tokenizer cuts them into windows")
    if options.train and not options.dev:
        parser.error("--train needs --dev")
    options.device = torch.device("cpu" if options.toy else "cuda")
    return options


def say(text: str) -> None:
    """Progress; the table stands alone on stdout."""
    print(text, file=sys.stderr, flush=True)


# ------------------------------------------------------------------------------ models and windows


def make_model(size: str) -> nn.Module:
    """A BERT of this shape, with random weights and a span head."""
    width, layers, heads, inner = SHAPES[size]
    config = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=width, num_hidden_layers=layers,
        num_attention_heads=heads, intermediate_size=inner,
    )  # fmt: skip
    model: nn.Module = transformers.BertForQuestionAnswering(config)
    return model


def make_toy_encoder() -> Path:
    """A tiny BERT with random weights and the tokenizer of MiniLM."""
    folder = Path(tempfile.mkdtemp()) / "encoder"
    shutil.copytree(fetch_folder(OFFLINE_ENCODER), folder)
    model: Any = make_model("toy")
    model.bert.save_pretrained(folder)
    return folder


def drawn_lengths(count: int) -> NDArray[np.int64]:
    """Lengths spread like those of SQuAD's windows, whose mean is near 175 tokens."""
    lengths = np.random.default_rng(0).gamma(6.5, 27, count).round().astype(np.int64)
    return np.clip(lengths, 40, LONGEST)


def measured_lengths(options: Namespace) -> NDArray[np.int64]:
    """Lengths of a data file's windows, drawn at random."""
    tokenizer = PairTokenizer.from_folder(options.model)
    windows = make_windows(read_examples(options.data), tokenizer, WindowSettings())
    drawn = np.random.default_rng(0).integers(len(windows), size=options.windows)
    lengths: NDArray[np.int64] = windows.lengths[drawn]
    return lengths


def draw_windows(lengths: NDArray[np.int64]) -> Windows:
    """Windows of random tokens and labels; the first 16 tokens stand for the question."""
    draw = np.random.default_rng(0)
    place = np.concatenate([np.arange(length) for length in lengths])  # (N,) within the window
    characters = np.where(place < 16, -1, place)[:, None].repeat(2, axis=1).astype(np.int32)
    labels = np.sort(draw.integers(16, lengths[:, None], (len(lengths), 2))).astype(np.int32)
    return Windows(
        row_splits=np.concatenate([[0], np.cumsum(lengths)]),
        input_ids=draw.integers(1000, VOCABULARY, len(place), dtype=np.int32),
        type_ids=(place >= 16).astype(np.int32),
        offsets=characters,
        edges=characters,
        example=np.arange(len(lengths), dtype=np.int32),
        null_position=np.zeros(len(lengths), dtype=np.int32),
        first=labels[:, 0],
        last=labels[:, 1],
    )


def to_tensors(windows: Windows, rows: NDArray[np.int64], *, width: int = 0) -> Tensors:
    """A batch, padded to its longest window or, if that is more, to `width` tokens."""
    batch = collate(windows, rows, pad_token_id=0)
    mask = batch.context_mask
    mask[np.arange(len(rows)), batch.null_position] = True
    missing = max(0, width - mask.shape[1])
    arrays = {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "token_type_ids": batch.type_ids,
    }
    padded = {name: np.pad(array, ((0, 0), (0, missing))) for name, array in arrays.items()}
    padded["labels"] = np.stack([batch.first, batch.last], axis=1)
    tensors = {name: torch.from_numpy(array).long() for name, array in padded.items()}
    return tensors | {"span_mask": torch.from_numpy(np.pad(mask, ((0, 0), (0, missing))))}


def lay_out(windows: Windows, side: str, *, batch_size: int, seed: int = 0) -> list[Tensors]:
    """All windows in batches: at random, but "padded by length" as `spanwise train` draws them."""
    order = np.random.default_rng(seed).permutation(len(windows))
    plan = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if side.startswith("padded by length"):
        plan = plan_batches(windows.lengths, batch_size=batch_size, seed=seed)
    width = LONGEST if side.startswith("padded to 384") else 0
    batches = [to_tensors(windows, rows, width=width) for rows in plan]
    if torch.cuda.is_available():  # from there they are copied while the GPU goes on working
        batches = [{name: t.pin_memory() for name, t in batch.items()} for batch in batches]
    return batches


# ------------------------------------------------------------------------------------- agreement


def check(device: torch.device) -> None:
    """Packed against padded, for each family: logits and gradients, as a share of their norm.

    In fp32 within 1e-4; in bf16 packed may be no further from fp32 than twice what padded is.
    """
    windows = draw_windows(np.array([17, 384, 100, 18, 250, 63]))
    batch = to_tensors(windows, np.arange(len(windows)))
    failed = []
    for family in PACKABLE:
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(
            family, vocab_size=VOCABULARY, hidden_size=128, dim=128, num_hidden_layers=4,
            n_layers=4, num_attention_heads=2, n_heads=2, intermediate_size=256, hidden_dim=256,
            max_position_embeddings=512, type_vocab_size=2, pad_token_id=0, initializer_range=0.1,
        )  # fmt: skip
        model = transformers.AutoModelForQuestionAnswering.from_config(config).to(device).eval()
        padded, packed = MaskedModel(model), MaskedModel(PackedModel(model))
        expected = outcome(padded, batch, device, bf16=False)
        fp32 = distance(outcome(packed, batch, device, bf16=False), expected)
        bf16 = distance(outcome(packed, batch, device, bf16=True), expected)
        usual = distance(outcome(padded, batch, device, bf16=True), expected)
        if not (fp32 <= 1e-4 and bf16 <= 2 * usual):
            failed.append(family)
        say(f"{family}: packed off by {fp32:.1e} in fp32, {bf16:.1e} in bf16; padded {usual:.1e}")
    if failed:
        sys.exit(f"packed and padded disagree for {', '.join(failed)}")


def outcome(
    reader: nn.Module, batch: Tensors, device: torch.device, *, bf16: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits where an answer may stand, and all gradients of the loss."""
    reader.zero_grad()
    logits, loss = forward(reader, batch, device, bf16=bf16)
    torch.autograd.backward(loss)
    gradients = [p.grad.flatten() for p in reader.parameters() if p.grad is not None]
    return logits.detach()[logits.isfinite()], torch.cat(gradients)


def distance(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """The larger of the relative errors of logits and gradients."""
    pairs = zip(found, expected, strict=True)
    return max(float((one - other).norm() / other.norm()) for one, other in pairs)


# ------------------------------------------------------------------------------------------ speed


def forward(
    reader: nn.Module, batch: Tensors, device: torch.device, *, bf16: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and loss of a batch, which is brought to the device first."""
    inputs = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
    labels = inputs.pop("labels")
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        logits = reader(**inputs)
    return logits, span_loss(logits, labels)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long the work takes, until the device has done it."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def matrix_rate(device: torch.device, size: int) -> float:
    """Operations a second of a bf16 matrix product on random numbers: the median of ten."""
    left, right = torch.randn(2, size, size, device=device).bfloat16()
    times = [seconds(lambda: left @ right, device) for _ in range(13)]
    return 2 * size**3 / statistics.median(times[3:])


def race(
    work: str, size: str, windows: Windows, *, rate: float, options: Namespace
) -> list[Timing]:
    """Time all sides in turns; the first turn only warms up."""
    device = options.device
    model = make_model(size).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    readers = {
        "padded to 384": MaskedModel(model),
        "padded by length": MaskedModel(model),
        "packed": MaskedModel(PackedModel(model)),
    }
    if options.compile:
        compiled: Any = torch.compile(model, dynamic=True)
        readers["packed, compiled"] = MaskedModel(PackedModel(compiled))
    if work == "answer":
        model.bfloat16().eval()
    batches = {side: lay_out(windows, side, batch_size=options.batch_size) for side in readers}

    def run(side: str) -> None:
        for batch in batches[side]:
            with torch.inference_mode(work == "answer"):
                _, loss = forward(readers[side], batch, device, bf16=work == "train")
            if work == "train":
                torch.autograd.backward(loss)
                optimizer.step()
                optimizer.zero_grad()

    times: dict[str, list[float]] = {side: [] for side in readers}
    for turn in range(options.repeats + 1):
        say(f"{work} {size}: turn {turn} of {options.repeats}")
        for side, taken in times.items():
            taken.append(seconds(partial(run, side), device))
    found = []
    for side, (_, *taken) in times.items():
        median = statistics.median(taken)
        found.append(
            Timing(
                work=work,
                size=size,
                side=side,
                features=tuple(len(windows) / second for second in taken),
                tokens=int(windows.lengths.sum()) / median,
                share=operations(work, size, batches[side], side) / median / rate,
            )
        )
    return found


def operations(work: str, size: str, batches: Sequence[Tensors], side: str) -> float:
    """Multiplications and additions in the matrix products of all layers, padding included."""
    width, layers, _, inner = SHAPES[size]
    total = 0.0
    for batch in batches:
        lengths = batch["attention_mask"].sum(1)  # (B,)
        if side.startswith("padded"):
            lengths = torch.full_like(lengths, batch["attention_mask"].shape[1])
        weights = float(lengths.sum()) * (8 * width**2 + 4 * width * inner)
        total += layers * (weights + 4 * width * float((lengths**2).sum()))
    return total * (3 if work == "train" else 1)  # backward is twice forward


def table(timings: Sequence[Timing]) -> str:
    """The races, a side a line."""
    form = "{:7} {:6} {:17} {:>9} {:>18} {:>13} {:>7} {:>6}   {:15} {}"
    head = ("work", "size", "side", "windows/s", "min to max", "tokens/s", "share", "ratio")
    lines = [form.format(*head, "published", "target")]
    for timing in timings:
        usual = next(t for t in timings if (t.work, t.size) == (timing.work, timing.size))
        key, median = (timing.work, timing.size), statistics.median(timing.features)
        cells = (
            f"{median:,.0f}",
            f"{min(timing.features):,.0f} to {max(timing.features):,.0f}",
            f"{timing.tokens:,.0f}",
            f"{timing.share:.1%}",
            f"{median / statistics.median(usual.features):.2f}x",
        )
        ends = ANCHORS.get(key, ""), TARGETS.get(key, "")
        lines.append(form.format(*key, timing.side, *cells, *ends).rstrip())
    return "\n".join(lines)


# ------------------------------------------------------------------------------------- time to F1


def time_to_f1(options: Namespace) -> dict[str, Points]:
    """Fine-tune `--model` in both ways on the same batches, and judge it twice an epoch."""
    examples, dev = read_examples(options.train), read_examples([options.dev])
    tokenizer = PairTokenizer.from_folder(options.model)
    settings = ReaderSettings()
    windows = make_windows(examples, tokenizer, settings.window)
    curves: dict[str, Points] = {}
    for side in ("padded to 384, fp32", "packed, bf16"):
        torch.manual_seed(0)
        model = load_training_model(options.model, {"kind": "linear"}).to(options.device)
        reader = Reader(TorchBackend(model, device=str(options.device)), tokenizer, settings)
        curves[side] = []
        for epochs, taken in fine_tune(model, windows, side, options):
            model.eval()
            point = {"epochs": epochs, "seconds": taken, "f1": f1(reader, dev)}
            model.train()
            curves[side].append(point)
            say(f"{side}: {epochs:.1f} epochs, {taken:.1f} s, F1 {point['f1']:.1f}")
    return curves


def fine_tune(
    model: nn.Module, windows: Windows, side: str, options: Namespace
) -> Iterator[tuple[float, float]]:
    """Yield the epochs and seconds trained, twice an epoch; what is done meanwhile is no training.

    Batches of 32 windows; a learning rate that rises for 6 % of the run and falls linearly.
    """
    device, epochs = options.device, options.epochs
    reader = MaskedModel(PackedModel(model) if side.startswith("packed") else model).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, fused=True)
    layouts = [lay_out(windows, side, batch_size=32, seed=epoch) for epoch in range(epochs)]
    batches = [batch for layout in layouts for batch in layout]
    steps, warmup = len(batches), max(1, round(0.06 * len(batches)))

    def rate(step: int) -> float:
        return min((step + 1) / warmup, (steps - step) / (steps - warmup))

    def run(part: Sequence[Tensors]) -> None:
        for batch in part:
            _, loss = forward(reader, batch, device, bf16=side.endswith("bf16"))
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    taken = 0.0
    for half in range(2 * epochs):
        part = batches[half * steps // (2 * epochs) : (half + 1) * steps // (2 * epochs)]
        taken += seconds(partial(run, part), device)
        yield (half + 1) / 2, taken


def f1(reader: Reader, dev: Sequence[Example]) -> float:
    """F1 on held-out examples, in percent, at the best threshold for them."""
    predictions = reader.predict(dev)
    threshold = fit_calibration(dev, predictions, fitted_on="dev").threshold
    return score_spans(dev, predictions, threshold=threshold)["f1"]


def curve_table(curves: dict[str, Points]) -> str:
    """Seconds of training and F1, side by side; then the time to what both sides reach."""
    if not curves:
        return ""
    lines = ["", "epochs" + "".join(f"{side:>30}" for side in curves)]
    for points in zip(*curves.values(), strict=True):
        cells = [f"{point['seconds']:17,.1f} s, F1 {point['f1']:4.1f}" for point in points]
        lines.append(f"{points[0]['epochs']:6.1f}" + "".join(f"{cell:>30}" for cell in cells))
    goal = min(max(point["f1"] for point in points) for points in curves.values())
    times = {
        side: next(point["seconds"] for point in points if point["f1"] >= goal)
        for side, points in curves.items()
    }
    reached = ", ".join(f"{side} after {taken:,.1f} s" for side, taken in times.items())
    return "\n".join([*lines, f"F1 {goal:.1f} is reached: {reached}"])


if __name__ == "__main__":
    main()
