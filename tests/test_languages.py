"""Quotes in many scripts, end to end: every answer stands at its offsets, every gold is reached."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from spanwise.auditing import audit_examples
from spanwise.backends import FakeBackend
from spanwise.batching import collate, plan_batches
from spanwise.corpus import Scan
from spanwise.decoding import Decoder
from spanwise.metrics import score_predictions
from spanwise.reader import Reader
from spanwise.schema import (
    Batch,
    Calibration,
    Example,
    Gold,
    Logits,
    Prediction,
    ReaderSettings,
    WindowSettings,
)
from spanwise.windows import PairTokenizer, make_windows

SETTINGS = ReaderSettings(window=WindowSettings(max_length=48, stride=36, max_question_tokens=20))


@dataclass(frozen=True, kw_only=True)
class Script:
    """A context, strings of it to be quoted, and how its answers are compared."""

    context: str
    golds: tuple[str, ...]
    language: str = "en"

    def examples(self) -> list[Example]:
        return [
            Example(
                id=gold,
                question=f"{number}?",
                context=self.context,
                answers=(self._place(gold),),
            )
            for number, gold in enumerate(self.golds)
        ]

    def _place(self, gold: str) -> Gold:
        start = self.context.index(gold)
        return Gold(text=gold, start=start, end=start + len(gold))


SCRIPTS = {
    "Chinese": Script(
        context="镇上的图书馆建于一八九三年，馆长是𠮷田先生；他收藏了三百万册书，其中一半是小说。"
        "星期天上午九点开门，晚上六点关门。",
        golds=("一八九三年", "𠮷田先生", "三百万册", "晚上六点"),
        language="zh",
    ),
    "Japanese": Script(
        context="町の図書館は朝九時に開き、館長のか\u3099くさんは「ｶﾞｲﾄﾞ」を書きました。２０２３年の夏には"
        "三百万冊の本がありました。",
        golds=("朝九時", "か\u3099くさん", "ｶﾞｲﾄﾞ", "２０２３年", "三百万冊"),
        language="ja",
    ),
    "Korean": Script(
        context="마을 도서관은 아침 아홉 시에 문을 열고, 관장 김서연 씨는 책 삼백만 권을 모았다. "
        "첫 책은 \u1112\u1161\u11ab\u1100\u1173\u11af로 쓴 소설이었다.",
        golds=("아침 아홉 시", "김서연", "삼백만 권", "\u1112\u1161\u11ab\u1100\u1173\u11af"),
        language="ko",
    ),
    "Thai": Script(
        context="ห้องสมุดของเมืองเปิดทุกวันเวลาเก้าโมงเช้า ผู้อำนวยการชื่อสุดา และมีน้ำดื่มในสวน",
        golds=("เก้าโมงเช้า", "ผู้อำนวยการ", "สุดา", "น้ำดื่ม"),
    ),
    "Arabic": Script(
        context="تفتح مكتبةُ المدينةِ أبوابَها في الساعة ٩ صباحًا، ومديرها الأستاذ كمال. وعند "
        "المدخل كُتِبَ ﷺ ثم اسم المهندسِ.",
        golds=("مكتبةُ المدينةِ", "الساعة ٩ صباحًا", "كمال", "ﷺ", "المهندسِ"),
        language="ar",
    ),
    "Devanagari": Script(
        context="शहर का पुस्तकालय हर दिन सुबह नौ बजे खुलता है। क्षितिज जी निदेशक हैं, और श्रीमती "
        "रुक्\u200dमिणी ने १८९३ में पहली पुस्तक दी।",
        golds=("सुबह नौ बजे", "क्षितिज जी", "रुक्\u200dमिणी", "१८९३"),
        language="hi",
    ),
    "emoji": Script(
        context="The keeper 👩🏽\u200d🔬 waved a 🏳\ufe0f\u200d🌈 and the flag 🇵🇱 at the family "
        "👨\u200d👩\u200d👧, then pressed 4\ufe0f\u20e3 and sang 🎉🎉.",
        golds=(
            "👩🏽\u200d🔬",
            "🏳\ufe0f\u200d🌈",
            "flag 🇵🇱",
            "👨\u200d👩\u200d👧",
            "4\ufe0f\u20e3",
            "🎉🎉",
        ),
    ),
    "combining marks": Script(
        context="Cafe\u0301 Zoe\u0308 opened in A\u030angstro\u0308m street; its o\u0323\u0302n "
        "and ﬁﬅy ½ litres of Z\u0351\u036b\u0343alg\u0321\u0353o\u031b juice were sold.",
        golds=(
            "Cafe\u0301",
            "Zoe\u0308",
            "A\u030angstro\u0308m",
            "o\u0323\u0302n",
            "ﬁﬅy ½",
            "Z\u0351\u036b\u0343alg\u0321\u0353o\u031b",
        ),
    ),
}


def make_bytes() -> Tokenizer:
    """A token for each byte, so that most characters here are several tokens."""
    pieces = ["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({piece: id_ for id_, piece in enumerate(pieces)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def make_characters(normalizer: normalizers.Normalizer) -> Tokenizer:
    """A token for each character that the normalizer leaves."""
    texts = "".join(script.context for script in SCRIPTS.values())
    letters = sorted(set(normalizer.normalize_str(texts + "?")))
    pieces = ["<pad>", "<s>", "</s>", "<unk>", *letters]
    vocabulary = {piece: id_ for id_, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    return tokenizer


_NFKC = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
_STRIPPED = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])
TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "bytes": make_bytes,
    "characters, some joined and some taken apart": lambda: make_characters(_NFKC),
    "characters without accents": lambda: make_characters(_STRIPPED),
}


@cache
def pair(name: str) -> PairTokenizer:
    tokenizer = TOKENIZERS[name]()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[("<s>", 1), ("</s>", 2)],
    )
    return PairTokenizer(tokenizer, {"cls_token": "<s>", "pad_token": "<pad>"})


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_every_answer_stands_at_its_offsets(script: Script, name: str) -> None:
    for gold in script.golds:
        backend = FakeBackend({gold: 20.0}, pair(name))
        prediction = Reader(backend, pair(name), SETTINGS).answer("?", script.context)
        assert prediction.best is not None
        assert (prediction.best.text, prediction.best.start) == (gold, script.context.index(gold))
        for answer in prediction.answers:
            assert script.context[answer.start : answer.end] == answer.text


def read_labels(examples: list[Example], tokenizer: PairTokenizer) -> list[Prediction]:
    """What a reader says that points at every label, and at null where there is none."""

    def point(batch: Batch) -> Logits:
        start = np.zeros(batch.input_ids.shape, dtype=np.float32)
        end = start.copy()
        rows = np.arange(len(start))
        start[rows, batch.first] = end[rows, batch.last] = 20
        return Logits(start_logits=start, end_logits=end)

    windows = make_windows(examples, tokenizer, SETTINGS.window)
    assert len(windows) > len(examples)  # so that some golds stand in a later window
    decoder = Decoder(SETTINGS.decode, Calibration())
    for rows in plan_batches(windows.lengths, batch_tokens=400):
        batch = collate(windows, rows, pad_token_id=tokenizer.pad_token_id)
        decoder.add(batch, point(batch))
    return decoder.predictions(
        [example.id for example in examples], [[example.context] for example in examples]
    )


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_golds_survive_labelling_and_decoding(script: Script, name: str) -> None:
    examples = script.examples()
    predictions = read_labels(examples, pair(name))
    answers = {one.id: one.best.text if one.best else "" for one in predictions}
    assert answers == {gold: gold for gold in script.golds}
    scores = score_predictions(examples, answers, language=script.language).overall
    assert (scores["exact"], scores["f1"]) == (100, 100)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_an_audit_says_that_every_gold_can_be_quoted(name: str) -> None:
    examples = tuple(example for script in SCRIPTS.values() for example in script.examples())
    scans = {"texts": Scan(examples=examples, problems=())}
    found = audit_examples(scans, tokenizer=pair(name), window=SETTINGS.window)
    assert {finding.kind for finding in found.findings} <= {"uncovered"}  # a note, not a fault
    assert found.oracle is not None
    assert (found.oracle["exact"], found.oracle["f1"]) == (100, 100)
