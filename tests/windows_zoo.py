"""Small tokenizers of every family, for the tests of windows: trained here, on texts from here."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from spanwise.windows import PairTokenizer

TEXTS = (
    "The lighthouse of Łódź was painted in 1893; its keeper, Zoë Müller, counted ﬁfty-ﬁve ships.",
    "Two  blanks,\ta tab and … an ellipsis:  none of them may shift an offset.   ",
    "東京の図書館には約三百万冊の本があります。閉館は午後九時です。",
    "مكتبة المدينة تفتح أبوابها في الساعة التاسعة صباحًا كل يوم.",
    "ห้องสมุดของเมืองเปิดทุกวันเวลาเก้าโมงเช้า",
    "शहर का पुस्तकालय हर दिन सुबह नौ बजे खुलता है।",
    "Cafe\u0301 re\u0301sume\u0301 nai\u0308ve A\u030angstro\u0308m: marks of their own.",
    "👩‍🔬 measured ½ litre at 20 ℃ 🎉🎉 and wrote „ﬂour“ ﬃ times ²³.",
    "Городская библиотека открыта с девяти утра; где ключ от двери?",
    " The keeper of the library opens the door at nine, and the lighthouse at night. ",
    "한국어 문장도 하나 있습니다. \u3000\u00a0 Where does the text stop?\n\nHere.",
)

_SPECIALS = ["<s>", "</s>", "<pad>", "<unk>", "<cls>", "<sep>"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A tokenizer, what its `tokenizer_config.json` says, and the order that its model reads."""

    tokenizer: Tokenizer
    config: dict[str, Any] = field(default_factory=dict)
    context_first: bool = False


def _template(pieces: str) -> processors.TemplateProcessing:
    specials = [(token, number) for number, token in enumerate(_SPECIALS)]
    return processors.TemplateProcessing(single="$A", pair=pieces, special_tokens=specials)


_ROBERTA = _template("<s>:0 $A:0 </s>:0 </s>:0 $B:0 </s>:0")
_LLAMA = _template("<s>:0 $A:0 <s>:1 $B:1")
_BOTH_ENDS = _template("<s>:0 $A:0 </s>:0 <s>:1 $B:1 </s>:1")
_T5 = _template("$A:0 </s>:0 $B:0 </s>:0")
_XLNET = _template("$A:0 <sep>:0 $B:1 <sep>:1 <cls>:2")
_CONFIG = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def _word_piece(*, lowercase: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=500, special_tokens=specials, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def _byte_level(*, prefix: bool, processor: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=_SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    if processor is not None:
        tokenizer.post_processor = processor
    return tokenizer


def _roberta(*, prefix: bool, trim: bool = True) -> processors.RobertaProcessing:
    return processors.RobertaProcessing(
        ("</s>", 1), ("<s>", 0), trim_offsets=trim, add_prefix_space=prefix
    )


def _unigram(scheme: Literal["always", "first", "never"], processor: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    trainer = trainers.UnigramTrainer(
        vocab_size=400,
        special_tokens=_SPECIALS,
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    tokenizer.post_processor = processor
    return tokenizer


def _meta_bpe(scheme: Literal["always", "first", "never"], processor: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=_SPECIALS, show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    tokenizer.post_processor = processor
    return tokenizer


def _llama_two() -> Tokenizer:
    """Blanks are replaced by the normalizer; letters that are unknown fall back to bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    specials = [*_SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=specials, limit_alphabet=120, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    tokenizer.post_processor = _LLAMA
    return tokenizer


def _words() -> Tokenizer:
    """No special token stands around a pair; a text may have no token."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(
        vocab_size=200, special_tokens=_SPECIALS, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


_KINDS: dict[str, Callable[[], Kind]] = {
    "word pieces": lambda: Kind(
        tokenizer=_word_piece(lowercase=True),
        config={"cls_token": "[CLS]", "pad_token": "[PAD]", "unk_token": "[UNK]"},
    ),
    "word pieces, cased": lambda: Kind(
        tokenizer=_word_piece(lowercase=False),
        config={"cls_token": "[CLS]", "pad_token": "[PAD]", "unk_token": "[UNK]"},
    ),
    "bytes, roberta": lambda: Kind(
        tokenizer=_byte_level(prefix=False, processor=_roberta(prefix=False)),
        config=_CONFIG | {"cls_token": "<s>"},
    ),
    "bytes, roberta, untrimmed": lambda: Kind(
        tokenizer=_byte_level(prefix=False, processor=_roberta(prefix=False, trim=False)),
        config=_CONFIG | {"cls_token": "<s>"},
    ),
    "bytes, roberta, prefixed": lambda: Kind(
        tokenizer=_byte_level(prefix=True, processor=_roberta(prefix=True)),
        config=_CONFIG | {"cls_token": "<s>"},
    ),
    "bytes, template": lambda: Kind(
        tokenizer=_byte_level(prefix=False, processor=_ROBERTA), config=_CONFIG
    ),
    "bytes, template, prefixed": lambda: Kind(
        tokenizer=_byte_level(prefix=True, processor=_ROBERTA), config=_CONFIG
    ),
    "bytes, trimmed": lambda: Kind(
        tokenizer=_byte_level(
            prefix=False,
            processor=processors.ByteLevel(trim_offsets=True, add_prefix_space=False),
        ),
    ),
    "bytes, trimmed, prefixed": lambda: Kind(
        tokenizer=_byte_level(prefix=True, processor=processors.ByteLevel(trim_offsets=True)),
    ),
    "bytes, untrimmed, template": lambda: Kind(
        tokenizer=_byte_level(
            prefix=False,
            processor=processors.Sequence([processors.ByteLevel(trim_offsets=False), _BOTH_ENDS]),
        ),
        config=_CONFIG,
    ),
    "unigram, always": lambda: Kind(tokenizer=_unigram("always", _T5), config=_CONFIG),
    "unigram, first": lambda: Kind(tokenizer=_unigram("first", _ROBERTA), config=_CONFIG),
    "unigram, never": lambda: Kind(tokenizer=_unigram("never", _T5), config=_CONFIG),
    "metaspace, always": lambda: Kind(tokenizer=_meta_bpe("always", _BOTH_ENDS), config=_CONFIG),
    "metaspace, first": lambda: Kind(tokenizer=_meta_bpe("first", _LLAMA), config=_CONFIG),
    "metaspace, never": lambda: Kind(tokenizer=_meta_bpe("never", _T5), config=_CONFIG),
    "prepended, bytes unknown": lambda: Kind(tokenizer=_llama_two(), config=_CONFIG),
    "words alone": lambda: Kind(tokenizer=_words()),
    "left-padded": lambda: Kind(
        tokenizer=_unigram("always", _XLNET),
        config=_CONFIG | {"cls_token": "<cls>", "sep_token": "<sep>", "padding_side": "left"},
        context_first=True,
    ),
}

NAMES = tuple(_KINDS)

# Without any special token around a pair.
ALONE = ("bytes, trimmed", "bytes, trimmed, prefixed", "words alone")

# Those whose reference leaves a blank at the start of the context of later windows.
PREFIXED = ("bytes, roberta, prefixed", "bytes, trimmed, prefixed")


@cache
def kind(name: str) -> Kind:
    """One of `NAMES`; each is trained once."""
    return _KINDS[name]()


@cache
def pair(name: str) -> PairTokenizer:
    return PairTokenizer(kind(name).tokenizer, kind(name).config)


@cache
def reference(name: str) -> PreTrainedTokenizerFast:
    """What windows must equal; once through JSON, as from a file."""
    rust = Tokenizer.from_str(kind(name).tokenizer.to_str())
    return PreTrainedTokenizerFast(tokenizer_object=rust, **kind(name).config)
