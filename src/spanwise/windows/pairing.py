"""A tokenizer that is known to pair a question with a context.

It finds out what the tokenizer puts around a pair, by pairing two texts and looking. This module
knows nothing about windows, labels or models.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from spanwise.errors import CheckpointError, FormatError, MissingExtra, Problem
from spanwise.schema import Ints
from spanwise.windows.encoding import Tokens, encode_long, encode_texts

# In three scripts, as a fault may show only where a blank and letters share a token. No letter is
# one that a normalizer would take apart.
_PROBE = "Where does the answer stand in the text? где ответ в тексте جواب مكان نص"

# What the classes of transformers for one family each take for granted, so that configs need not
# say it. These have no family.
_GENERAL = {"PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend"}
_CLASS_TOKENS = ("[CLS]", "<cls>", "<s>")
_PADS = ("[PAD]", "<pad>")


@dataclass(frozen=True, kw_only=True)
class PairLayout:
    """The S special tokens around a pair of texts.

    Attributes:
        ids: (S,) in their order.
        types: (S,) segment ids of these tokens.
        splits: (4,) `ids[splits[n]:splits[n + 1]]` stand before the first text, between the two,
            after the second.
        text_types: (2,) segment ids of the two texts.
        null: which of them stands for "no answer here"; None where there is no special token.
    """

    ids: Ints
    types: Ints
    splits: NDArray[np.int64]
    text_types: Ints
    null: int | None


class PairTokenizer:
    """A `tokenizers.Tokenizer` that is known to pair a question with a context.

    Args:
        tokenizer: the Rust tokenizer; its own truncation and padding are switched off in a copy.
        config: `tokenizer_config.json`; `cls_token`, `bos_token`, `pad_token`, `padding_side` and
            `model_input_names` are read, all of it is kept. Where it says nothing of them, they are
            what transformers takes them to be.
        name: how messages call it.

    Attributes:
        padding_side: "left" for models that read the context first.
        has_type_ids: whether the model is given segment ids; where not, all are 0.

    Raises:
        CheckpointError: it cannot tokenise, or its offsets do not point at its own tokens.
    """

    def __init__(
        self, tokenizer: Tokenizer, config: Mapping[str, Any] | None = None, *, name: str = ""
    ) -> None:
        self.config = dict(config or {})
        self.name = name or "the tokenizer"
        inputs = self.config.get("model_input_names")
        self.has_type_ids = not isinstance(inputs, list) or "token_type_ids" in inputs
        with _rust_errors(self.name):
            self.tokenizer = Tokenizer.from_str(tokenizer.to_str())
            self.tokenizer.no_truncation()
            self.tokenizer.no_padding()
            self._check_offsets()
            self._granted = self._find_granted()
            self.layout = self._find_layout()
        self.padding_side: Literal["left", "right"] = self._find_side()

    @classmethod
    def from_folder(cls, folder: str | Path) -> Self:
        """Read `tokenizer.json`; an older folder without one is converted by transformers.

        Raises:
            CheckpointError: no tokenizer in the folder, or only a slow (Python) one.
            MissingExtra: the folder needs a conversion and transformers is not installed.
        """
        folder = Path(folder)
        file = folder / "tokenizer.json"
        if not file.is_file():
            return cls._convert(folder)
        with _rust_errors(str(file)):
            tokenizer = Tokenizer.from_file(str(file))
        return cls(tokenizer, _read_config(folder), name=str(folder))

    @classmethod
    def _convert(cls, folder: Path) -> Self:
        try:
            from transformers import AutoTokenizer
        except ImportError:
            raise MissingExtra("transformers", "torch") from None
        try:
            with _rust_errors(str(folder)):
                loaded = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        except (OSError, ValueError, ImportError, TypeError) as error:
            reason = " ".join(str(error).split())
            message = (
                f"{folder}: no tokenizer can be read from this folder; give it a tokenizer.json "
                f"(transformers says: {reason})"
            )
            raise CheckpointError(message) from error
        files = loaded.vocab_files_names.values()
        if loaded.is_fast and not any((folder / file).is_file() for file in files):
            # transformers then makes up a vocabulary of special tokens, and all text is unknown.
            message = f"{folder}: holds no tokenizer; it needs one of {', '.join(files)}"
            raise CheckpointError(message)
        return cls.from_transformers(loaded, name=str(folder))

    @classmethod
    def from_transformers(cls, tokenizer: Any, *, name: str = "") -> Self:
        """Take over a fast tokenizer of transformers.

        Raises:
            CheckpointError: a slow (Python) one.
        """
        name = name or type(tokenizer).__name__
        if not tokenizer.is_fast:
            message = (
                f"{name}: {type(tokenizer).__name__} is a slow tokenizer: it gives no character "
                "offsets, so no answer could be placed in its text. Use a checkpoint that has a "
                "tokenizer.json."
            )
            raise CheckpointError(message)
        config = {
            "tokenizer_class": type(tokenizer).__name__,
            "padding_side": tokenizer.padding_side,
            "model_input_names": tokenizer.model_input_names,
            "model_max_length": tokenizer.model_max_length,
            **tokenizer.special_tokens_map,
        }
        return cls(tokenizer.backend_tokenizer, config, name=name)

    def save(self, folder: str | Path) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json`."""
        file = Path(folder) / "tokenizer.json"
        file.write_text(self.tokenizer.to_str(pretty=True), encoding="utf-8")  # in any folder
        text = json.dumps(self.config, indent=2, ensure_ascii=False) + "\n"
        (Path(folder) / "tokenizer_config.json").write_text(text, encoding="utf-8")

    @property
    def pad_token_id(self) -> int:
        """The id that fills batches; 0 where the tokenizer has none, as it is masked anyway."""
        return self.token_id("pad_token") or 0

    def encode_contexts(self, texts: Sequence[str]) -> Tokens:
        """Tokenise without special tokens.

        Raises:
            FormatError: texts that the tokenizer cannot read.
        """
        with self._named(texts):
            return encode_texts(self.tokenizer, texts)

    def encode_long(self, text: str) -> Iterator[tuple[Ints, Ints]]:
        """Tokenise one text; its ids (n,) and offsets (n, 2) come a piece at a time.

        Raises:
            FormatError: the tokenizer cannot read it.
        """
        with self._named([text]):
            yield from encode_long(self.tokenizer, text)

    @contextmanager
    def _named(self, texts: Sequence[str]) -> Iterator[None]:
        """Name the texts that the tokenizer cannot read."""
        try:
            with _rust_errors(self.name):
                yield
        except (CheckpointError, TypeError) as error:
            raise FormatError(filter(None, map(self._problem, texts))) from error

    def _problem(self, text: str) -> Problem | None:
        """Why a text cannot be tokenised."""
        message = ""
        try:
            text.encode()
            with _rust_errors(self.name):
                self.tokenizer.encode(text, add_special_tokens=False)
        except UnicodeEncodeError as error:
            near = text[max(0, error.start - 20) : error.start + 20]
            message = f"{near!r} holds a lone surrogate, which is no character; replace it"
        except CheckpointError as error:
            # Not by the name of the tokenizer, which may be a path and nobody else's to know.
            message = (
                f"{text!r:.80} cannot be tokenised: tokenizers {tokenizers.__version__} says "
                f"{error.__cause__}; reword or remove it"
            )
        return Problem(file="", place="", id=None, message=message) if message else None

    def token_id(self, kind: str) -> int | None:
        """The id of "cls_token", "pad_token", …; None where the tokenizer has none."""
        token = self.config.get(kind, self._granted.get(kind))
        text = token.get("content") if isinstance(token, dict) else token
        return self.tokenizer.token_to_id(text) if isinstance(text, str) else None

    def _check_offsets(self) -> None:
        """Refuse a tokenizer whose offsets miss its own text, as RobBERT's once did by one."""
        encoding = self.tokenizer.encode(_PROBE, add_special_tokens=False)
        for token_id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            token = self.tokenizer.decode([token_id])
            letters = _letters(token)
            # Not so the name of the unknown token, nor a token that ends within a letter's bytes.
            comparable = letters in _letters(_PROBE) and "\ufffd" not in token
            if letters and comparable and letters != _letters(_PROBE[start:end]):
                message = (
                    f"{self.name}: its offsets are wrong: the token {token!r} is said to stand at "
                    f"[{start}:{end}] of {_PROBE!r}, which reads {_PROBE[start:end]!r}. Answers "
                    "would lose letters. Convert the tokenizer anew from its vocabulary."
                )
                raise CheckpointError(message)

    def _find_layout(self) -> PairLayout:
        """Encode a known text as both texts of a pair and see what stands around them."""
        vocabulary = ([n] for n in range(self.tokenizer.get_vocab_size()))
        for text in chain([_PROBE], map(self.tokenizer.decode, vocabulary)):
            encoding = self.tokenizer.encode(text, text)
            if 1 in encoding.sequence_ids:
                break
        else:
            raise CheckpointError(f"{self.name}: no text gives a token; its vocabulary is empty")
        owner = np.array([-1 if number is None else number for number in encoding.sequence_ids])
        first, second = np.flatnonzero(owner == 0), np.flatnonzero(owner == 1)
        types = np.array(encoding.type_ids, dtype=np.int32) * self.has_type_ids
        ids = _ids(encoding)[owner < 0]
        return PairLayout(
            ids=ids,
            types=types[owner < 0],
            splits=np.array([0, first[0], second[0] - len(first), len(ids)]),
            text_types=types[[first[0], second[0]]],
            null=self._find_null(ids.tolist()),
        )

    def _find_granted(self) -> dict[str, str]:
        """The tokens that a config which names none leaves to its class."""
        if self.config.get("tokenizer_class") in _GENERAL or any(
            name.endswith("_token") for name in self.config
        ):
            return {}
        around = self.tokenizer.encode("", "").tokens
        found = {
            "cls_token": [token for token in _CLASS_TOKENS if token in around],
            "pad_token": [
                token for token in _PADS if self.tokenizer.token_to_id(token) is not None
            ],
        }
        return {kind: tokens[0] for kind, tokens in found.items() if tokens}

    def _find_side(self) -> Literal["left", "right"]:
        """XLNet's class alone pads pairs on the left; its class token is the last."""
        null, splits = self.layout.null, self.layout.splits
        is_last = null is not None and null >= splits[2]
        own = "left" if is_last and self.config.get("tokenizer_class") not in _GENERAL else "right"
        return "left" if self.config.get("padding_side", own) == "left" else "right"

    def _find_null(self, specials: list[int]) -> int | None:
        for kind in ("cls_token", "bos_token"):
            token_id = self.token_id(kind)
            if token_id in specials:
                return specials.index(token_id)
        return 0 if specials else None


@contextmanager
def _rust_errors(name: str) -> Iterator[None]:
    """Give errors of the Rust side a class: they come as bare Exceptions, or as panics."""
    try:
        yield
    except BaseException as error:
        # A panic is no Exception, so that callers could not catch it; its class has no import.
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
        message = f"{name} fails in tokenizers {tokenizers.__version__}: {error}"
        raise CheckpointError(message) from error


def _read_config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        file = folder / name
        if not file.is_file():
            continue
        try:
            part = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{file}: it is no JSON object: {error}") from error
        if not isinstance(part, dict):
            raise CheckpointError(f"{file}: it is no JSON object, but {part!r:.40}")
        config |= part
    return config


def _ids(encoding: Encoding) -> Ints:
    return np.array(encoding.ids, dtype=np.int32)


def _letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())
