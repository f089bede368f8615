"""Findings, sizes, oracle scores, repairs and excerpts, each against the slow and obvious way."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from spanwise.auditing import (
    Audit,
    Excerpt,
    audit_examples,
    repair_examples,
    sample_examples,
    tokens,
)
from spanwise.batching import collate
from spanwise.corpus import Scan, scan_examples, write_examples
from spanwise.decoding import Decoder
from spanwise.errors import ConfigError, Problem
from spanwise.metrics import exact_match, f1, normalize_answer
from spanwise.schema import (
    Calibration,
    DecodeSettings,
    Example,
    Gold,
    Logits,
    WindowSettings,
)
from spanwise.windows import PairTokenizer, make_windows

CONTEXT = "The Normans came from Norway in 911. Rollo was their first \u200bleader."
OTHER = "Ships of oak carried them up the Seine, as far as Paris."
WORDS = "Who came ? When and where did he lead a Norman to"


def _train(*, special: bool = True) -> PairTokenizer:
    """Whole words of the texts above are tokens; other words fall into letters."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=500,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"],
        initial_alphabet=[*"abcdefghijklmnopqrstuvwxyz0123456789"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([CONTEXT, OTHER, WORDS], trainer)
    if special:
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PairTokenizer(tokenizer, {"cls_token": "[CLS]", "pad_token": "[PAD]"})


def _train_bytes() -> PairTokenizer:
    """Tokens take the blank before them along, and a character may fall into several."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([CONTEXT, OTHER, WORDS], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 1), ("<s>", 0), trim_offsets=False
    )
    return PairTokenizer(tokenizer, {"cls_token": "<s>", "pad_token": "<pad>"})


@pytest.fixture(scope="module")
def tokenizer() -> PairTokenizer:
    return _train()


@pytest.fixture(scope="module")
def byte_tokenizer() -> PairTokenizer:
    return _train_bytes()


def _gold(text: str, context: str = CONTEXT, *, shift: int = 0) -> Gold:
    start = context.index(text) + shift
    return Gold(text=text, start=start, end=start + len(text))


def _example(
    *answers: str, name: str = "q", question: str = "Who came ?", context: str = CONTEXT
) -> Example:
    golds = tuple(_gold(answer, context) for answer in answers)
    return Example(id=name, question=question, context=context, title="Normandy", answers=golds)


def _scan(*examples: Example, problems: tuple[Problem, ...] = ()) -> Scan:
    return Scan(examples=examples, problems=problems)


CLEAN = {
    "train.json": _scan(
        _example("The Normans", "Normans", name="a"),
        _example("911", name="b", question="When ?"),
        _example(name="c", question="Who came to Paris ?"),
        replace(_example(name="d", question="Where ?"), answers=None),
    ),
    "dev.json": _scan(_example("Ships", name="a", question="Who ?", context=OTHER)),
}


@pytest.mark.parametrize("with_tokens", [True, False])
def test_clean_data_has_no_findings(tokenizer: PairTokenizer, with_tokens: bool) -> None:
    audit = audit_examples(CLEAN, tokenizer=tokenizer if with_tokens else None)
    assert audit.findings == ()
    assert not audit.has_faults
    assert (audit.tokens is not None) == (audit.oracle is not None) == with_tokens


def test_counts() -> None:
    counts = audit_examples(CLEAN).counts
    assert (counts.questions, counts.contexts, counts.documents) == (5, 2, 1)
    assert (counts.unanswerable, counts.unlabelled) == (1, 1)
    assert counts.answers_per_question == {0: 1, 1: 2, 2: 1}


class Case(NamedTuple):
    kind: str
    says: Sequence[str]  # the value and the mend
    scans: Mapping[str, Scan]
    window: WindowSettings = WindowSettings()
    decode: DecodeSettings = DecodeSettings()
    file: str = "x.json"
    needs_tokens: bool = True


def _one(*examples: Example) -> dict[str, Scan]:
    return {"x.json": _scan(*examples)}


MISPLACED = replace(_example(), answers=(_gold("Normans", shift=-1),))
BEFORE = replace(_example(), answers=(Gold(text="The", start=-3, end=0),))
BROKEN = Problem(file="x.json", place="line 7", id=None, message="'question' is 5, not a text")

CASES = [
    Case("format", ["is 5"], {"x.json": _scan(problems=(BROKEN,))}, needs_tokens=False),
    Case("misaligned", ["' Norman'", "[3:10]", "--fix"], _one(MISPLACED), needs_tokens=False),
    Case("misaligned", ["'The'", "[-3:0]", "reads ''"], _one(BEFORE), needs_tokens=False),
    Case("blank_edges", ["' Norway '", "--fix"], _one(_example(" Norway ")), needs_tokens=False),
    Case("blank_edges", ["' '", "--fix drops it"], _one(_example(" ")), needs_tokens=False),
    Case(
        "duplicate",
        ["'Who came ?'", "'first'", "--fix"],
        _one(_example("Normans", "Rollo", name="first"), _example("Rollo", "Normans")),
        needs_tokens=False,
    ),
    Case(
        "duplicate",
        ["'first'"],
        _one(*(replace(_example(name=name), answers=None) for name in ("first", "q"))),
        needs_tokens=False,
    ),
    Case(
        "contradiction",
        ["'Norway'", "'first'", "'Rollo'", "keep one"],
        _one(_example("Rollo", name="first"), _example("Norway")),
        needs_tokens=False,
    ),
    Case(
        "contradiction",
        ["no answer", "'first'", "'Rollo'"],
        _one(_example("Rollo", name="first"), _example()),
        needs_tokens=False,
    ),
    Case(
        "shared_context",
        ["'The Normans", "x.json too (id 'first')", "keep it in one"],
        {
            "x.json": _scan(_example("Rollo", name="first")),
            "y.json": _scan(_example(question="Where ?"), _example(name="r", question="When ?")),
        },
        file="y.json",
        needs_tokens=False,
    ),
    Case("tokenless", [r"'\u200b'", "reword"], _one(_example("Rollo", question="\u200b"))),
    Case("tokenless", [r"'\u200b'", "remove it"], _one(_example("\u200b"))),
    Case(
        "long_question",
        ["'Who came ?'", "3 tokens", "cut to 2", "max_question_tokens"],
        _one(_example("Rollo")),
        window=WindowSettings(max_question_tokens=2),
    ),
    Case(  # a question may not take more than three quarters of a window
        "long_question",
        ["14 tokens", "cut to 7", "max_length"],
        _one(_example("Rollo", question="Who came ? " + "a " * 11)),
        window=WindowSettings(max_length=12, stride=0),
    ),
    Case(
        "long_answer",
        ["'from Norway in'", "3 tokens", "max_answer_tokens is 2"],
        _one(_example("from Norway in")),
        decode=DecodeSettings(max_answer_tokens=2),
    ),
    Case(
        "cut_answer",
        ["'in 911', 'Norway in 911'", "12 tokens", "raise stride"],
        _one(_example("in 911", "Norway in 911")),
        window=WindowSettings(max_length=12, stride=0),
    ),
    Case("token_edge", ["'Norman'", "'Normans'"], _one(_example("Norman"))),
    Case("token_edge", [r"'\u200bleader'", "'leader'"], _one(_example("\u200bleader"))),
    Case("uncovered", [r"'\u200b'", "'first \\u200bleader'"], _one(_example("first \u200bleader"))),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{n}-{case.kind}" for n, case in enumerate(CASES)])
def test_finds_just_that(case: Case, tokenizer: PairTokenizer) -> None:
    audit = audit_examples(
        case.scans,
        tokenizer=tokenizer,
        window=case.window,
        decode=case.decode,
    )
    (finding,) = audit.findings
    assert finding.kind == case.kind
    assert finding.count == 1
    assert audit.has_faults == finding.fault == (case.kind != "uncovered")
    (problem,) = finding.problems
    assert problem.file == case.file
    assert problem.id == (None if case.kind == "format" else "q")
    for part in case.says:
        assert part in problem.message
    without = audit_examples(case.scans)
    assert without.findings == (() if case.needs_tokens else audit.findings)


def test_findings_stand_in_a_fixed_order(tokenizer: PairTokenizer) -> None:
    scans = _one(
        _example("Norman", name="1"),
        _example(" Norway", name="2", question="Where ?"),
        replace(MISPLACED, id="3", question="When ?"),
        _example("Norman", name="4"),
    )
    findings = audit_examples(scans, tokenizer=tokenizer).findings
    assert [finding.kind for finding in findings] == [
        "misaligned", "blank_edges", "duplicate", "token_edge",
    ]  # fmt: skip
    assert [finding.count for finding in findings] == [1, 1, 1, 2]


def test_a_fault_of_several_annotators_is_found_once(tokenizer: PairTokenizer) -> None:
    for text, kind in (("Norman", "token_edge"), (" Rollo", "blank_edges")):
        example = _example(text, text, text)
        (finding,) = audit_examples(_one(example), tokenizer=tokenizer).findings
        assert (finding.kind, finding.count) == (kind, 1)


def test_a_file_s_own_report_of_a_misplaced_answer_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "dev.json"
    other = _example("Rollo", name="a", question="Who lead ?")
    write_examples(path, [other, replace(MISPLACED, id="b")], form="squad")
    scan = scan_examples(path)
    (finding,) = audit_examples({"dev.json": scan}).findings
    assert finding.kind == "misaligned"
    assert finding.problems == scan.problems
    assert finding.problems[0].place == "data[0].paragraphs[0].qas[1]"


def test_answers_that_share_a_character_do_not_contradict() -> None:
    pair = _example("Rollo", "The Normans", name="a"), _example("Normans came", name="b")
    assert audit_examples(_one(*pair)).findings == ()


def test_same_question_in_two_files_is_no_duplicate() -> None:
    scans = {name: _scan(_example("Rollo")) for name in ("x.json", "y.json")}
    assert [finding.kind for finding in audit_examples(scans).findings] == ["shared_context"]


def test_other_golds_may_save_a_question(tokenizer: PairTokenizer) -> None:
    scans = _one(_example("in 911", "Norway"))
    window = WindowSettings(max_length=12, stride=0)
    audit = audit_examples(scans, tokenizer=tokenizer, window=window)
    assert audit.findings == ()
    assert audit.oracle is not None
    assert audit.oracle["exact"] == 100


def test_a_misplaced_answer_does_not_hide_a_cut_one(tokenizer: PairTokenizer) -> None:
    misplaced = _gold("Rollo", shift=1)
    example = replace(_example(), answers=(_gold("in 911"), misplaced))
    window = WindowSettings(max_length=12, stride=0)
    findings = audit_examples(_one(example), tokenizer=tokenizer, window=window).findings
    assert [finding.kind for finding in findings] == ["misaligned", "cut_answer"]


def test_blanks_of_a_token_are_no_part_of_an_answer(byte_tokenizer: PairTokenizer) -> None:
    context = "Rollo  came from Norway in 911."
    assert byte_tokenizer.encode_contexts([context])[0][1][2:4].tolist() == [[5, 6], [6, 11]]
    example = _example("Norway", "Rollo  came", context=context)
    decode = DecodeSettings(max_answer_tokens=3)  # the blank token is no start of its own
    audit = audit_examples(_one(example), tokenizer=byte_tokenizer, decode=decode)
    assert audit.findings == ()
    assert audit.tokens is not None
    assert audit.tokens.answer.max == 3
    assert _reachable(example, byte_tokenizer, WindowSettings(), decode).count("Rollo  came") == 1


def test_nothing_at_all(tokenizer: PairTokenizer) -> None:
    audit = audit_examples({"x.json": _scan()}, tokenizer=tokenizer)
    assert audit.counts.questions == 0
    assert audit.tokens is not None
    assert audit.tokens.windows == audit.tokens.most_windows == audit.tokens.answer.max == 0
    assert audit.tokens.windows_per_question == 0
    assert audit.oracle is None


@pytest.mark.parametrize(
    ("window", "decode", "message"),
    [
        (WindowSettings(max_length=4), DecodeSettings(), "max_length is 4"),
        (WindowSettings(stride=-1), DecodeSettings(), "stride is -1"),
        (WindowSettings(), DecodeSettings(max_answer_tokens=0), "max_answer_tokens is 0"),
    ],
)
def test_refuses_settings_that_cannot_work(
    tokenizer: PairTokenizer, window: WindowSettings, decode: DecodeSettings, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        audit_examples(CLEAN, tokenizer=tokenizer, window=window, decode=decode)


# Sizes


def _draw_examples(seed: int, count: int) -> list[Example]:
    """Random questions over a few words, so that words of an answer stand elsewhere too.

    Some answers are misplaced, some begin inside a word, some are of nothing but an article.
    """
    draw = random.Random(seed)
    words = ["the", "a", "Norman", "Normans", "NORWAY", "(Paris)", "oak-ships", "oak—the—ships"]
    words += ["Norway,", "oak", "xy", "y", "—"]
    examples = []
    for number in range(count):
        context = draw.choice([" ", "  "]).join(draw.choices(words, k=draw.randrange(1, 30)))
        golds = []
        for _ in range(draw.randrange(4)):
            start = draw.randrange(len(context))
            end = min(start + draw.choice([1, 4, 9, 30, 90]), len(context))
            gold = Gold(text=context[start:end], start=start, end=end)
            shift = draw.choice([0, 0, 0, 3])
            golds.append(replace(gold, start=start + shift, end=end + shift))
        question = " ".join(draw.choices(words, k=draw.randrange(1, 9)))
        answers = None if draw.random() < 0.1 else tuple(golds)
        name = f"{seed}-{number}"
        examples.append(Example(id=name, question=question, context=context, answers=answers))
    return examples


SETTINGS = [
    (WindowSettings(), DecodeSettings()),
    (WindowSettings(max_length=16, stride=4, max_question_tokens=5), DecodeSettings()),
    (WindowSettings(max_length=14, stride=0), DecodeSettings(max_answer_tokens=4)),
    (WindowSettings(max_length=11, stride=40), DecodeSettings(max_answer_tokens=2)),
]


@pytest.mark.parametrize(("window", "decode"), SETTINGS)
def test_sizes(tokenizer: PairTokenizer, window: WindowSettings, decode: DecodeSettings) -> None:
    examples = _draw_examples(1, 60)
    audit = audit_examples(_one(*examples), tokenizer=tokenizer, window=window, decode=decode)
    windows = make_windows(examples, tokenizer, window)
    per_question = np.bincount(windows.example)
    sizes = audit.tokens
    assert sizes is not None
    assert sizes.windows == len(windows)
    assert sizes.most_windows == per_question.max()
    assert sizes.windows_per_question == pytest.approx(per_question.mean())
    assert sizes.questions_by_windows == Counter(per_question.tolist())

    def lengths(texts: Sequence[str]) -> list[int]:
        encode = tokenizer.tokenizer.encode
        return [len(encode(text, add_special_tokens=False).ids) for text in texts]

    question = lengths([example.question for example in examples])
    context = lengths(sorted({example.context for example in examples}))
    for spread, expected in ((sizes.question, question), (sizes.context, context)):
        assert spread.p50 == pytest.approx(np.median(expected))
        assert spread.p95 == pytest.approx(np.percentile(expected, 95))
        assert spread.max == max(expected)
        assert list(spread.counts.items()) == sorted(Counter(expected).items())


def test_length_of_an_answer_is_that_of_the_decoder(tokenizer: PairTokenizer) -> None:
    examples = [_example("Rollo was their first leader"[:13]), _example("Normans", "Normans")]
    sizes = audit_examples(_one(*examples), tokenizer=tokenizer).tokens
    assert sizes is not None
    assert (sizes.answer.p50, sizes.answer.max) == (2, 3)  # "Rollo was the" touches "their"


def test_parts_make_no_difference(
    tokenizer: PairTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = {f"{seed}.json": _scan(*_draw_examples(seed, 20)) for seed in range(3)}

    def audit() -> Audit:
        window = WindowSettings(max_length=16, stride=4)
        return audit_examples(scans, tokenizer=tokenizer, window=window)

    whole = audit()
    monkeypatch.setattr(tokens, "_PART", 100)
    assert audit() == whole


# The oracle


def _reachable(
    example: Example, tokenizer: PairTokenizer, window: WindowSettings, decode: DecodeSettings
) -> list[str]:
    """Every quote that the decoder itself can return."""
    windows = make_windows([example], tokenizer, window)
    batch = collate(windows, np.arange(len(windows)), pad_token_id=tokenizer.pad_token_id)
    zeros = np.zeros(batch.input_ids.shape, dtype=np.float32)
    decoder = Decoder(replace(decode, n_best=100_000), Calibration())
    decoder.add(batch, Logits(start_logits=zeros, end_logits=zeros))
    (prediction,) = decoder.predictions([example.id], [[example.context]])
    return [answer.text for answer in prediction.answers]


def _best_scores(example: Example, quotes: Sequence[str]) -> tuple[float, float]:
    """Highest EM and highest F1 of any of the quotes, or of saying nothing, by the rules 2.0."""
    golds = [gold.text for gold in example.answers or () if normalize_answer(gold.text)] or [""]
    distinct = {"", *map(normalize_answer, quotes)}
    pairs = [(quote, gold) for quote in distinct for gold in golds]
    em = max(exact_match(*pair) for pair in pairs)
    return em, max(f1(*pair) for pair in pairs)


@pytest.mark.parametrize("pieces", ["tokenizer", "byte_tokenizer"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("window", "decode"), SETTINGS)
def test_oracle_is_the_best_of_all_spans(
    request: pytest.FixtureRequest,
    pieces: str,
    seed: int,
    window: WindowSettings,
    decode: DecodeSettings,
) -> None:
    tokenizer: PairTokenizer = request.getfixturevalue(pieces)
    examples = _draw_examples(seed, 30)
    audit = audit_examples(_one(*examples), tokenizer=tokenizer, window=window, decode=decode)
    labelled = [example for example in examples if example.answers is not None]
    best = []
    for example in labelled:
        quotes = _reachable(example, tokenizer, window, decode) if example.answers else []
        best.append(_best_scores(example, quotes))
    assert audit.oracle is not None
    assert audit.oracle["total"] == len(labelled)
    assert audit.oracle["exact"] == pytest.approx(100 * np.mean([em for em, _ in best]))
    assert audit.oracle["f1"] == pytest.approx(100 * np.mean([score for _, score in best]))
    assert audit.oracle["exact"] < 100  # the draw holds answers that no reader can return


@pytest.mark.parametrize(
    ("answer", "limit", "exact", "f1_score"),
    [
        ("The Normans", 30, 100, 100),
        ("Norman", 30, 0, 0),  # a token is whole
        ("came from Norway in 911", 2, 0, 100 * 2 * 2 / (2 + 5)),  # two of five words
        ("from Norway in", 2, 0, 100 * 2 * 2 / (2 + 3)),  # one token too many
        ("The Normans came", 2, 100, 100),  # the article is not needed
        ("Normans", 1, 100, 100),
    ],
)
def test_oracle_of_one_question(
    tokenizer: PairTokenizer, answer: str, limit: int, exact: float, f1_score: float
) -> None:
    decode = DecodeSettings(max_answer_tokens=limit)
    oracle = audit_examples(_one(_example(answer)), tokenizer=tokenizer, decode=decode).oracle
    assert oracle is not None
    assert oracle["exact"] == exact
    assert oracle["f1"] == pytest.approx(f1_score)


@pytest.mark.parametrize(
    ("answer", "context"),
    [
        ("Norman Rollo", "Rollo Norman Rollo ."),  # "Rollo Norman" has an F1 of 1 too
        ("oak—the—ships", "Ships up the oak—the—ships ."),  # two words without a blank
        ("PARIS", "Ships to PARIS"),
    ],
)
def test_oracle_finds_what_was_misplaced(
    tokenizer: PairTokenizer, answer: str, context: str
) -> None:
    example = _example(answer, context=context)
    misplaced = replace(example, answers=(_gold(answer, context, shift=1),))
    oracle = audit_examples(_one(misplaced), tokenizer=tokenizer).oracle
    assert oracle is not None
    assert (oracle["exact"], oracle["f1"]) == (100, 100)


def test_oracle_looks_beyond_the_published_place(tokenizer: PairTokenizer) -> None:
    context = "The Normans were led by a Norman ."
    scans = _one(_example("Norman", context=context))  # the first "Norman" is inside a token
    assert audit_examples(scans, tokenizer=tokenizer).oracle == {
        "exact": 100, "f1": 100, "total": 1,
        "HasAns_exact": 100, "HasAns_f1": 100, "HasAns_total": 1,
    }  # fmt: skip


def test_oracle_leaves_unlabelled_questions_out(tokenizer: PairTokenizer) -> None:
    unlabelled = replace(_example(), answers=None)
    assert audit_examples(_one(unlabelled), tokenizer=tokenizer).oracle is None
    oracle = audit_examples(_one(unlabelled, _example(name="r")), tokenizer=tokenizer).oracle
    assert oracle == {
        "exact": 100, "f1": 100, "total": 1,
        "NoAns_exact": 100, "NoAns_f1": 100, "NoAns_total": 1,
    }  # fmt: skip


def test_a_question_that_cannot_be_asked_is_lost_not_a_crash() -> None:
    bare = _train(special=False)  # no special token could stand for "no answer"
    scans = _one(
        _example("Rollo", name="a", question="\u200b"),
        _example("Norway", name="b"),
        replace(_example(name="c", question="\u200b\u200b"), answers=None),
    )
    audit = audit_examples(scans, tokenizer=bare)
    assert [(finding.kind, finding.count) for finding in audit.findings] == [("tokenless", 2)]
    assert audit.oracle is not None
    assert (audit.oracle["exact"], audit.oracle["total"]) == (50, 2)


# Repairs


def test_repair_lists_what_it_does() -> None:
    near = replace(_example(name="near"), answers=(_gold("Normans", shift=-2),))
    blank = _example(" Norway ", name="blank", question="Where ?")
    both = replace(
        _example(name="both", question="When ?"), answers=(_gold(" 911", shift=5), _gold("911"))
    )
    ragnar = Gold(text="Ragnar", start=0, end=6)
    spare = replace(_example(name="spare", question="Who lead ?"), answers=(ragnar, _gold("Rollo")))
    lost = replace(_example(name="lost", question="To ?"), answers=(ragnar,))
    twin = replace(_example("Normans", name="twin"), answers=(_gold("Normans"),))
    repair = repair_examples([near, blank, both, spare, lost, twin])
    assert [(change.id, change.kind) for change in repair.changes] == [
        ("near", "moved"),
        ("blank", "trimmed"),
        ("both", "moved"),
        ("spare", "dropped_answer"),
        ("lost", "dropped_answer"),
        ("lost", "dropped_question"),
        ("twin", "dropped_duplicate"),
    ]
    messages = [change.message for change in repair.changes]
    assert messages[0] == "answer 'Normans' at [2:9] is now 'Normans' at [4:11]"
    assert messages[1] == "answer ' Norway ' at [21:29] is now 'Norway' at [22:28]"
    assert "'Ragnar'" in messages[3]
    assert "'To ?'" in messages[5]
    assert "'near'" in messages[6]
    assert [example.id for example in repair.examples] == ["near", "blank", "both", "spare"]
    assert [example.answers for example in repair.examples] == [
        (_gold("Normans"),),
        (_gold("Norway"),),
        (_gold("911"), _gold("911")),
        (_gold("Rollo"),),
    ]


@pytest.mark.parametrize(
    ("start", "place"),
    [(-9, 0), (0, 0), (3, 0), (4, 0), (5, 8), (8, 8), (20, 16), (99, 16)],
)
def test_repair_moves_to_the_nearest_place(start: int, place: int) -> None:
    gold = Gold(text="oak", start=start, end=start + 3)
    example = Example(id="q", question="What ?", context="oak elm oak elm oak", answers=(gold,))
    (repaired,) = repair_examples([example]).examples
    assert repaired.answers == (Gold(text="oak", start=place, end=place + 3),)


def test_repair_leaves_sound_data_alone() -> None:
    examples = [example for scan in CLEAN.values() for example in scan.examples]
    repair = repair_examples(examples)
    assert repair.examples == tuple(examples)
    assert repair.changes == ()


def test_repaired_data_has_nothing_left_to_repair(tmp_path: Path) -> None:
    faulty = [
        example for case in CASES for scan in case.scans.values() for example in scan.examples
    ]
    faulty += [example for seed in range(5) for example in _draw_examples(seed, 40)]
    faulty = [replace(example, id=str(number)) for number, example in enumerate(faulty)]
    repairable = {"misaligned", "blank_edges", "duplicate"}
    before = {finding.kind for finding in audit_examples(_one(*faulty)).findings}
    assert repairable <= before
    repair = repair_examples(faulty)
    path = tmp_path / "fixed.jsonl"
    write_examples(path, repair.examples, form="jsonl")
    after = audit_examples({"fixed.jsonl": scan_examples(path)})
    assert after.counts.questions == len(repair.examples)
    assert repairable.isdisjoint(finding.kind for finding in after.findings)
    assert repair_examples(repair.examples).changes == ()


@given(
    context=st.text("ab \u200b\n", max_size=20),
    golds=st.lists(st.tuples(st.text("ab \n", max_size=4), st.integers(-3, 25)), max_size=4),
)
def test_repair_keeps_only_what_stands(context: str, golds: list[tuple[str, int]]) -> None:
    answers = tuple(Gold(text=text, start=start, end=start + len(text)) for text, start in golds)
    example = Example(id="q", question="?", context=context, answers=answers)
    repair = repair_examples([example])
    held = [text.strip() for text, _ in golds if text.strip() and text.strip() in context]
    kept = [gold for repaired in repair.examples for gold in repaired.answers or ()]
    assert [gold.text for gold in kept] == held
    assert len(repair.examples) == (1 if held or not golds else 0)
    for gold in kept:
        assert gold.start >= 0
        assert context[gold.start : gold.end] == gold.text


# Excerpts


def _excerpt(example: Example) -> Excerpt:
    (excerpt,) = sample_examples([example], 1, seed=0)
    return excerpt


def test_samples_are_drawn_by_seed_and_stand_in_order() -> None:
    examples = [_example("Rollo", name=f"{number:02}") for number in range(50)]
    ids = [excerpt.id for excerpt in sample_examples(examples, 5, seed=3)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 5
    assert ids == [excerpt.id for excerpt in sample_examples(examples, 5, seed=3)]
    assert ids != [excerpt.id for excerpt in sample_examples(examples, 5, seed=4)]
    assert len(sample_examples(examples, 99, seed=0)) == 50
    assert sample_examples([], 3, seed=0) == ()


def test_refuses_a_negative_sample() -> None:
    with pytest.raises(ConfigError, match="k is -1"):
        sample_examples([], -1, seed=0)


def test_excerpt_is_cut_between_words_around_the_answer() -> None:
    words = [f"word{number}" for number in range(300)]
    context = " ".join(words)
    excerpt = _excerpt(_example("word150", context=context))
    ((start, end),) = excerpt.highlights
    assert excerpt.text[start:end] == "word150"
    assert excerpt.text.split() == words[125:176]  # 200 characters on either side, whole words
    assert 190 < start <= 200
    assert 190 < len(excerpt.text) - end <= 200
    assert excerpt.cut_before
    assert excerpt.cut_after
    assert excerpt.answers == ("word150",)


def test_excerpt_of_a_text_without_blanks() -> None:
    context = "字" * 300 + "答" + "字" * 300
    excerpt = _excerpt(_example("答", context=context))
    assert excerpt.text == "字" * 200 + "答" + "字" * 200
    assert excerpt.highlights == ((200, 201),)


def test_short_context_is_shown_whole() -> None:
    excerpt = _excerpt(_example("Rollo", "Norway", "Rollo"))
    assert excerpt.text == CONTEXT
    assert not excerpt.cut_before
    assert not excerpt.cut_after
    assert excerpt.answers == ("Rollo", "Norway")
    assert [CONTEXT[start:end] for start, end in excerpt.highlights] == ["Norway", "Rollo"]


def test_highlights_do_not_overlap() -> None:
    excerpt = _excerpt(_example("Normans came", "The Normans", "Normans", "Norway"))
    texts = [excerpt.text[start:end] for start, end in excerpt.highlights]
    assert texts == ["The Normans came", "Norway"]


def test_answers_out_of_sight_are_not_highlighted() -> None:
    context = "first " + "and " * 100 + "last"
    excerpt = _excerpt(_example("first", "last", context=context))
    assert excerpt.highlights == ((0, 5),)
    assert excerpt.answers == ("first", "last")
    assert (excerpt.cut_before, excerpt.cut_after) == (False, True)


@pytest.mark.parametrize("example", [_example(), MISPLACED, replace(_example(), answers=None)])
def test_without_an_answer_in_place_the_beginning_is_shown(example: Example) -> None:
    example = replace(example, context=CONTEXT + " and" * 100)
    excerpt = _excerpt(example)
    assert excerpt.highlights == ()
    assert excerpt.text.startswith("The Normans came")
    assert excerpt.text.endswith("and")
    assert (excerpt.cut_before, excerpt.cut_after) == (False, True)
    assert (excerpt.answers is None) == (example.answers is None)
