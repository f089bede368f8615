"""Tiny encoders and tokenizers that the tests make for themselves, and the rule on skips."""

import logging
import os

os.environ["OMP_NUM_THREADS"] = "1"  # tiny models: a second thread only waits for the first

import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from spanwise.schema import Example, Gold

if TYPE_CHECKING:
    from playwright.sync_api import Browser

settings.register_profile("shared", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("shared")
# Where a script starts the tests in the background SIGINT is ignored, by what they start as well.
signal.signal(signal.SIGINT, signal.default_int_handler)

_BROWSER_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

_WORDS = [
    *("the", "a", "of", "in", "on", "and", "lamp", "cable", "valve", "bridge", "river", "tower"),
    *("market", "engine", "signal", "harbour", "red", "green", "blue", "small", "old", "quiet"),
    *("is", "was", "what", "which", "number", "?", "."),
]


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """What the command line does to the log ends with the test that runs it."""
    logger = logging.getLogger("spanwise")
    before = logger.handlers, logger.level, logger.propagate
    yield
    logger.handlers, level, logger.propagate = before
    logger.setLevel(level)


def make_tokenizer() -> Tokenizer:
    """A BERT-like WordPiece tokenizer over a few words, letters and digits.

    Its vocabulary is written down: a trained one is numbered anew in every run.
    """
    characters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *_WORDS, *characters]
    pieces += [f"##{character}" for character in characters]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def make_colours(count: int, *, seed: int, unanswerable: float = 0.0) -> list[Example]:
    """Questions that a tiny model can learn: the answer is the one colour in the context."""
    draw = random.Random(seed)
    examples = []
    for number in range(count):
        words = draw.choices(_WORDS[:16], k=10)
        place, colour = draw.randrange(10), draw.choice(["red", "green", "blue"])
        answers: tuple[Gold, ...] = ()
        if draw.random() >= unanswerable:
            words[place] = colour
            start = len(" ".join([*words[:place], ""]))
            answers = (Gold(text=colour, start=start, end=start + len(colour)),)
        key, context = f"{seed}-{number}", " ".join(words)
        examples.append(Example(id=key, question="which ?", context=context, answers=answers))
    return examples


@pytest.fixture(scope="session")
def make_encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Save a bare tiny BERT encoder with its tokenizer; keywords change its configuration."""

    def make(**changes: Any) -> Path:
        import torch
        from transformers import BertConfig, BertModel
        from transformers.utils import logging

        logging.disable_progress_bar()
        folder = tmp_path_factory.mktemp("encoder")
        tokenizer = make_tokenizer()
        sizes: dict[str, Any] = {
            "vocab_size": tokenizer.get_vocab_size(),
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 64,
        }
        torch.manual_seed(0)
        BertModel(BertConfig(**(sizes | changes))).save_pretrained(folder)
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(
            '{"cls_token": "[CLS]", "pad_token": "[PAD]", "model_max_length": 64}',
            encoding="utf-8",
        )
        return folder

    return make


@pytest.fixture(scope="session")
def encoder(make_encoder: Callable[..., Path]) -> Path:
    """A bare tiny BERT encoder without dropout."""
    return make_encoder(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT reader with random weights; tests that change it take a copy."""
    from tests.readers_zoo import save_reader

    return save_reader(tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="session")
def exported(reader: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export in float32."""
    from spanwise.exporting import export_model

    return export_model(reader, tmp_path_factory.mktemp("float") / "out").folder


@pytest.fixture(scope="session")
def eight_bits(reader: Path, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export in eight bits."""
    from spanwise.exporting import export_model
    from tests.readers_zoo import graph_at_hand

    with graph_at_hand(exported / "model.onnx"):
        return export_model(reader, tmp_path_factory.mktemp("int8") / "out", int8=True).folder


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no browser: install the Debian package 'chromium', or Google Chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_BROWSER_FLAGS)
        yield browser
        browser.close()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test has not been passed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = [
        report
        for report in (reporter.stats.get("skipped", []) if reporter else [])
        if "gpu" not in report.keywords
    ]
    if os.environ.get("CI") and skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
