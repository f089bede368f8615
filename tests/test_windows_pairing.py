"""A tokenizer is read from any folder that has one, and refused by name where it would mislead."""

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

from spanwise.errors import CheckpointError, FormatError, MissingExtra
from spanwise.schema import Example, Windows, WindowSettings
from spanwise.windows import PairTokenizer, make_windows
from tests.windows_zoo import ALONE, NAMES, TEXTS, kind, pair, reference

EXAMPLE = Example(id="1", question="Where is the keeper?", context=" ".join(TEXTS))


def cut(tokenizer: PairTokenizer) -> Windows:
    return make_windows([EXAMPLE], tokenizer, WindowSettings(max_length=64, stride=16))


def assert_equal(one: Windows, two: Windows) -> None:
    for field in fields(Windows):
        assert (getattr(one, field.name) == getattr(two, field.name)).all(), field.name


def words(*pieces: str) -> Tokenizer:
    """A tokenizer of the given words."""
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def write(folder: Path, **files: Any) -> Path:
    """Write JSON files; `a_json` becomes `a.json`."""
    for name, content in files.items():
        path = folder / name.replace("_json", ".json")
        path.write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_tokenizer_gives_the_same_windows(name: str, tmp_path: Path) -> None:
    pair(name).save(tmp_path)
    loaded = PairTokenizer.from_folder(tmp_path)
    assert_equal(cut(loaded), cut(pair(name)))
    assert loaded.pad_token_id == pair(name).pad_token_id
    assert loaded.padding_side == pair(name).padding_side


@pytest.mark.parametrize("name", ["word pieces", "bytes, roberta", "left-padded"])
def test_what_transformers_saves_is_read_and_what_is_saved_it_reads(
    name: str, tmp_path: Path
) -> None:
    reference(name).save_pretrained(tmp_path)
    loaded = PairTokenizer.from_folder(tmp_path)
    assert_equal(cut(loaded), cut(pair(name)))
    loaded.save(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(EXAMPLE.context) == reference(name)(EXAMPLE.context)
    assert again.padding_side == loaded.padding_side


@pytest.mark.parametrize(
    ("name", "token", "place"),
    [
        ("word pieces", "[CLS]", 0),
        ("bytes, template", "<s>", 0),  # bos, without cls
        ("unigram, always", "</s>", 0),  # neither: the one between the texts is the first
        ("left-padded", "<cls>", 2),  # the last of all
    ],
)
def test_null_is_cls_else_bos_else_the_first_special_token(
    name: str, token: str, place: int
) -> None:
    layout = pair(name).layout
    assert layout.null == place
    assert pair(name).tokenizer.id_to_token(int(layout.ids[place])) == token


def test_cls_goes_before_bos() -> None:
    tokenizer = kind("metaspace, always").tokenizer  # <s> question </s> <s> context </s>
    config = {"bos_token": "<s>", "cls_token": "</s>"}
    assert PairTokenizer(tokenizer, config).layout.null == 1


def test_only_tokenizers_without_special_tokens_have_no_null() -> None:
    assert tuple(name for name in NAMES if pair(name).layout.null is None) == ALONE


def test_a_cls_token_that_is_never_added_is_not_null() -> None:
    tokenizer = PairTokenizer(kind("bytes, template").tokenizer, {"cls_token": "<cls>"})
    assert tokenizer.tokenizer.token_to_id("<cls>") is not None
    assert tokenizer.layout.null == 0


def test_a_vocabulary_without_latin_letters_is_paired() -> None:
    vocabulary = {"<s>": 0, "図": 1, "書": 2}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", pair="<s>:0 $A:0 <s>:0 $B:1", special_tokens=[("<s>", 0)]
    )
    layout = PairTokenizer(tokenizer).layout
    assert layout.ids.tolist() == [0, 0]
    assert layout.splits.tolist() == [0, 1, 2, 2]


def test_truncation_and_padding_are_switched_off_in_a_copy() -> None:
    tokenizer = Tokenizer.from_str(kind("word pieces").tokenizer.to_str())
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=500)
    assert_equal(cut(PairTokenizer(tokenizer, {"cls_token": "[CLS]"})), cut(pair("word pieces")))
    assert tokenizer.truncation is not None
    assert tokenizer.padding is not None


@pytest.mark.parametrize(
    ("config", "pad"), [({"pad_token": "[SEP]"}, 3), ({"pad_token": "absent"}, 0), ({}, 0)]
)
def test_the_pad_token_is_that_of_the_config(config: dict[str, Any], pad: int) -> None:
    assert PairTokenizer(kind("word pieces").tokenizer, config).pad_token_id == pad


@pytest.mark.parametrize(
    ("config", "side"), [({"padding_side": "left"}, "left"), ({"padding_side": "right"}, "right")]
)
def test_the_padding_side_is_that_of_the_config(config: dict[str, Any], side: str) -> None:
    assert PairTokenizer(kind("word pieces").tokenizer, config).padding_side == side
    assert PairTokenizer(kind("word pieces").tokenizer).padding_side == "right"


OLD = {"do_lower_case": True, "model_max_length": 512}  # all that old checkpoints say


@pytest.mark.parametrize(
    ("config", "cls", "pad"),
    [
        (OLD, 2, 0),
        (OLD | {"tokenizer_class": "BertTokenizer"}, 2, 0),
        (OLD | {"tokenizer_class": "PreTrainedTokenizerFast"}, None, None),
        (OLD | {"unk_token": "[UNK]"}, None, None),  # whoever names one names all there are
        (OLD | {"cls_token": "[SEP]"}, 3, None),
    ],
)
def test_what_a_config_leaves_to_its_class_is_found(
    config: dict[str, Any], cls: int | None, pad: int | None
) -> None:
    tokenizer = PairTokenizer(kind("word pieces").tokenizer, config)
    assert (tokenizer.token_id("cls_token"), tokenizer.token_id("pad_token")) == (cls, pad)
    assert tokenizer.config == config  # as it is saved again


def test_a_class_token_at_the_end_is_that_of_a_model_that_pads_on_the_left() -> None:
    left = kind("left-padded")
    config = {name: value for name, value in left.config.items() if name != "padding_side"}
    assert PairTokenizer(left.tokenizer, config).padding_side == "left"
    assert PairTokenizer(left.tokenizer, OLD).padding_side == "left"
    general = config | {"tokenizer_class": "PreTrainedTokenizerFast"}
    assert PairTokenizer(left.tokenizer, general).padding_side == "right"


def test_segment_ids_are_given_where_the_config_says_so() -> None:
    names = ["input_ids", "attention_mask"]
    for config, some in (
        ({}, True),
        ({"model_input_names": None}, True),
        ({"model_input_names": [*names, "token_type_ids"]}, True),
        ({"model_input_names": names}, False),
    ):
        tokenizer = PairTokenizer(kind("word pieces").tokenizer, config)
        assert tokenizer.has_type_ids == some
        assert cut(tokenizer).type_ids.any() == some
    assert not PairTokenizer.from_transformers(
        PreTrainedTokenizerFast(
            tokenizer_object=kind("word pieces").tokenizer, model_input_names=names
        )
    ).has_type_ids


@pytest.mark.parametrize("file", ["tokenizer_config_json", "special_tokens_map_json"])
@pytest.mark.parametrize("form", ["text", "object"])
def test_special_tokens_are_read_from_either_file(file: str, form: str, tmp_path: Path) -> None:
    kind("left-padded").tokenizer.save(str(tmp_path / "tokenizer.json"))
    tokens = {"cls_token": "<cls>", "pad_token": "<pad>"}
    objects = {name: {"content": text, "lstrip": False} for name, text in tokens.items()}
    write(tmp_path, **{file: tokens if form == "text" else objects})
    tokenizer = PairTokenizer.from_folder(tmp_path)
    assert tokenizer.layout.null == 2
    assert tokenizer.pad_token_id == 2


def test_a_folder_with_a_vocabulary_only_is_converted(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    vocabulary = kind("word pieces").tokenizer.get_vocab()
    lines = "\n".join(sorted(vocabulary, key=lambda piece: vocabulary[piece]))
    (old / "vocab.txt").write_text(lines, encoding="utf-8")
    write(old, config_json={"model_type": "bert"})
    converted = PairTokenizer.from_folder(old)
    assert_equal(cut(converted), cut(pair("word pieces")))
    converted.save(new)
    assert_equal(cut(PairTokenizer.from_folder(new)), cut(converted))
    assert AutoTokenizer.from_pretrained(new)("The door") == AutoTokenizer.from_pretrained(old)(
        "The door"
    )


def test_a_slow_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    ByT5Tokenizer().save_pretrained(tmp_path)
    write(tmp_path, config_json={"model_type": "t5"})
    with pytest.raises(CheckpointError, match="ByT5Tokenizer is a slow tokenizer: it gives no"):
        PairTokenizer.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no tokenizer can be read from this folder"),
        # transformers makes up a vocabulary of five special tokens for these.
        ({"config_json": {"model_type": "bert"}}, "holds no tokenizer; it needs one of vocab.txt"),
        ({"config_json": {"model_type": "roberta"}}, "holds no tokenizer; it needs one of vocab"),
        ({"tokenizer_json": {"model": 7}}, r"tokenizer\.json fails in tokenizers"),
        (
            {"config_json": {"model_type": "gpt2"}, "vocab_json": 3, "merges.txt": 4},
            "fails in tokenizers .* Bad vocabulary",
        ),
    ],
)
def test_a_folder_without_a_tokenizer_is_refused(
    files: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write(tmp_path, **files)
    with pytest.raises(CheckpointError, match=message) as caught:
        PairTokenizer.from_folder(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="absent: no tokenizer can be read"):
        PairTokenizer.from_folder(tmp_path / "absent")


@pytest.mark.parametrize("content", ["{", "[]", "[1, 2]", "7", "null", "[" * 100_000])
def test_a_config_that_is_no_object_is_refused(content: str, tmp_path: Path) -> None:
    pair("word pieces").save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json: it is no JSON object"):
        PairTokenizer.from_folder(tmp_path)


def test_a_conversion_needs_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"'transformers' .* pip install 'spanwise\[torch\]'"):
        PairTokenizer.from_folder(tmp_path)


def byte_level(corpus: list[str], processor: Any) -> Tokenizer:
    """RoBERTa's kind of tokenizer, trained on one corpus."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = processor
    return tokenizer


TRIMMED = processors.ByteLevel(trim_offsets=True)
TRIMMED_TWICE = processors.Sequence([TRIMMED, TRIMMED])

CORPORA = {
    "latin": ["the answer and the text stand in the door"] * 9,
    "cyrillic": ["ответ в тексте, где ключ от двери"] * 9,
    "arabic": ["جواب في مكان من نص كل يوم"] * 9,
}


@pytest.mark.parametrize("script", CORPORA)
def test_offsets_that_lose_a_letter_are_refused_by_name(script: str) -> None:
    PairTokenizer(byte_level(CORPORA[script], TRIMMED))
    twice = byte_level(CORPORA[script], TRIMMED_TWICE)
    text = CORPORA[script][0]
    start = twice.encode(text).offsets[1][0]
    assert text[start - 2] == " "  # the fault: the first letter is left out
    with pytest.raises(CheckpointError, match=r"robbert: its offsets are wrong: the token ' \w"):
        PairTokenizer(twice, name="robbert")


@pytest.mark.parametrize(
    "normalizer",
    [
        normalizers.NFKD(),
        normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
        normalizers.Lowercase(),
        normalizers.Replace("e", ""),
        normalizers.Replace(" ", "  "),
        normalizers.BertNormalizer(),
    ],
)
def test_a_normalizer_is_no_fault(normalizer: Any) -> None:
    for script in CORPORA.values():
        tokenizer = byte_level(script, TRIMMED)
        tokenizer.normalizer = normalizer
        PairTokenizer(tokenizer)


def test_an_unknown_word_is_no_fault() -> None:
    tokenizer = PairTokenizer(words("<unk>", "the"))
    assert [ids.tolist() for ids, _ in tokenizer.encode_contexts(["the moon"])] == [[1, 0]]


def panicking() -> pre_tokenizers.FixedLength:
    """Pieces of no letters at all; the Rust side panics on any text."""
    return pre_tokenizers.FixedLength(length=0)


def test_a_panic_at_load_is_an_error_that_names_the_tokenizer() -> None:
    tokenizer = words("<unk>")
    tokenizer.pre_tokenizer = panicking()
    with pytest.raises(
        CheckpointError, match=r"somewhere fails in tokenizers [\d.]+: chunk size must be"
    ):
        PairTokenizer(tokenizer, name="somewhere")


def test_a_panic_while_a_file_is_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    content = json.loads(Tokenizer(models.BPE({"a": 0, "b": 1}, [])).to_str())
    content["model"] |= {"continuing_subword_prefix": "####", "merges": [["a", "b"]]}
    write(tmp_path, tokenizer_json=content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json fails in tokenizers .*: range end"):
        PairTokenizer.from_folder(tmp_path)


def test_a_panic_on_a_text_is_an_error_that_names_the_text() -> None:
    tokenizer = PairTokenizer(kind("word pieces").tokenizer, name="somewhere")
    tokenizer.tokenizer.pre_tokenizer = panicking()
    with pytest.raises(FormatError, match=r"'the door' cannot be tokenised: .* chunk") as caught:
        tokenizer.encode_contexts(["the door"])
    assert "somewhere" not in str(caught.value)  # it may be a path, and the reader somebody else's


def test_an_interrupt_is_not_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    tokenizer = PairTokenizer(kind("word pieces").tokenizer)
    monkeypatch.setattr(tokenizer, "tokenizer", type("Busy", (), {"encode_batch": interrupted}))
    with pytest.raises(KeyboardInterrupt):
        tokenizer.encode_contexts(["the door"])


def test_every_text_that_cannot_be_read_is_named() -> None:
    probe = "Where does the answer stand in the text ? где ответ в тексте جواب مكان نص"
    tokenizer = PairTokenizer(words(*probe.split()))  # and no token for what is unknown
    texts = ["the answer", "the moon", "the text", "half \udc80 a letter", "a sun"]
    with pytest.raises(FormatError, match=r"'the moon' cannot be tokenised: .* Missing") as caught:
        tokenizer.encode_contexts(texts)
    _, half, sun = caught.value.problems
    assert "'half \\udc80 a letter' holds a lone surrogate" in half.message
    assert "'a sun' cannot be tokenised" in sun.message


@pytest.mark.parametrize("model", [models.BPE(), models.WordLevel({}, unk_token="x")])
def test_an_empty_vocabulary_is_refused(model: Any) -> None:
    with pytest.raises(
        CheckpointError, match=r"blank(: no text gives a token| fails in tokenizers)"
    ):
        PairTokenizer(Tokenizer(model), name="blank")
