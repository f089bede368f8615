"""The decoder against a twin in plain loops, and the promises that its numbers make."""

import math
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanwise.decoding import Decoder
from spanwise.errors import CheckpointError, ConfigError
from spanwise.schema import Batch, Calibration, DecodeSettings, Logits, Prediction

Quote = tuple[int, int, int, float]  # context, start, end, score


@dataclass(frozen=True, kw_only=True)
class Window:
    """One window as a list of context tokens, with its null token in front and no padding."""

    example: int
    edges: list[tuple[int, int]]
    start: list[float]  # the null token's logit first
    end: list[float]


def window(
    edges: Sequence[tuple[int, int]],
    start: Sequence[float],
    end: Sequence[float],
    *,
    example: int = 0,
    null: float = 0.0,
) -> Window:
    return Window(
        example=example, edges=list(edges), start=[null / 2, *start], end=[null / 2, *end]
    )


def collated(windows: Sequence[Window], *, extra: int = 0) -> tuple[Batch, Logits]:
    """Padded to the longest and `extra` more; logits of padding are NaN."""
    shape = len(windows), max(len(w.start) for w in windows) + extra
    edges = np.full((*shape, 2), -1, np.int32)
    start = np.full(shape, np.nan, np.float32)
    end = start.copy()
    for row, w in enumerate(windows):
        if w.edges:
            edges[row, 1 : len(w.start)] = w.edges
        start[row, : len(w.start)] = w.start
        end[row, : len(w.end)] = w.end
    zeros = np.zeros(shape, np.int32)
    first = np.zeros(len(windows), np.int32)
    batch = Batch(
        input_ids=zeros,
        attention_mask=zeros,
        type_ids=zeros,
        edges=edges,
        example=np.array([w.example for w in windows], np.int32),
        null_position=first,
        first=first,
        last=first,
    )
    return batch, Logits(start_logits=start, end_logits=end)


def decode(
    batches: Sequence[Sequence[Window]],
    contexts: Sequence[Sequence[str]],
    *,
    decoding: DecodeSettings | None = None,
    calibration: Calibration | None = None,
    top_k: int | None = None,
    extra: int = 0,
) -> list[Prediction]:
    decoder = Decoder(decoding or DecodeSettings(), calibration or Calibration())
    for windows in batches:
        decoder.add(*collated(windows, extra=extra))
    return decoder.predictions([f"q{i}" for i in range(len(contexts))], contexts, top_k=top_k)


def quotes(prediction: Prediction) -> list[Quote]:
    return [(a.context, a.start, a.end, a.score) for a in prediction.answers]


# The twin


def twin_spans(w: Window, reach: int) -> dict[tuple[int, int], float]:
    """Every pair of tokens of a window, measured in characters."""
    spans: dict[tuple[int, int], float] = {}
    starts = {start for start, _ in w.edges}
    for i, (start, _) in enumerate(w.edges):
        for j, (_, end) in enumerate(w.edges):
            held = sum(start <= other < end for other in starts)
            if start < end and held <= reach:
                score = float(np.float32(w.start[i + 1]) + np.float32(w.end[j + 1]))
                spans[start, end] = max(score, spans.get((start, end), -math.inf))
    return spans


def twin(
    windows: Sequence[Window], question: Sequence[int], decoding: DecodeSettings
) -> tuple[list[Quote], float]:
    """Ranked quotes and null score of the question whose contexts are these examples."""
    best: dict[tuple[int, int, int], float] = {}
    null = math.inf
    for w in windows:
        if w.example in question:
            null = min(null, float(np.float32(w.start[0]) + np.float32(w.end[0])))
            for (start, end), score in twin_spans(w, decoding.max_answer_tokens).items():
                place = question.index(w.example), start, end
                best[place] = max(score, best.get(place, -math.inf))
    ranked = sorted((-score, *place) for place, score in best.items())
    return [(c, s, e, -score) for score, c, s, e in ranked[: decoding.n_best]], null


def twin_softmax(scores: Sequence[float], temperature: float) -> list[float]:
    peak = max(scores)
    weights = [math.exp((score - peak) / temperature) for score in scores]
    return [weight / math.fsum(weights) for weight in weights]


# Windows to decode


def text_edges(text: str, cuts: Sequence[int]) -> list[tuple[int, int]]:
    """Edges of tokens that are cut from `text` at these characters, blank ones included."""
    edges = []
    for first, last in pairwise(cuts):
        start, end = first, last
        while start < len(text) and text[start] == " ":
            start += 1
        while end > 0 and text[end - 1] == " ":
            end -= 1
        edges.append((start, end))
    return edges


@st.composite
def ordinary_edges(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Tokens in a row, as of text; some blank, some said twice as the bytes of one character."""
    text = draw(st.text("ab ", min_size=1, max_size=14))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=9)))
    times = st.integers(1, 3)
    return [edge for edge in text_edges(text, cuts) for _ in range(draw(times))]


@st.composite
def plain_edges(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Tokens in a row, none blank and none said twice, with or without blanks between them."""
    steps = draw(st.lists(st.integers(0, 2), max_size=8))
    return [(start + n, start + n + 1) for n, start in enumerate(np.cumsum(steps).tolist())]


any_edges = st.lists(st.tuples(st.integers(0, 9), st.integers(-1, 10)), max_size=8)
small_integers = st.sampled_from([-2.0, -1.0, -0.0, 0.0, 1.0, 2.0])
any_logits = st.floats(-1e4, 1e4, width=32)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[list[Window]], list[int], DecodeSettings]:
    """Batches, the number of contexts of each question, and settings."""
    sizes = draw(st.lists(st.integers(1, 2), min_size=1, max_size=3))
    logit = draw(st.sampled_from([small_integers, any_logits]))
    windows = []
    for example in range(sum(sizes)):
        any_of_them = plain_edges() | ordinary_edges() | any_edges
        for edges in draw(st.lists(any_of_them, min_size=1, max_size=3)):
            logits = st.lists(logit, min_size=len(edges) + 1, max_size=len(edges) + 1)
            windows.append(
                Window(example=example, edges=edges, start=draw(logits), end=draw(logits))
            )
    windows = draw(st.permutations(windows))
    cut = draw(st.integers(0, len(windows)))
    decoding = DecodeSettings(
        n_best=draw(st.integers(1, 6) | st.just(200)),
        max_answer_tokens=draw(st.integers(1, 5) | st.just(200)),
        use_null=draw(st.booleans()),
    )
    return [part for part in (windows[:cut], windows[cut:]) if part], sizes, decoding


def examples_of(sizes: Sequence[int]) -> list[list[int]]:
    ends = np.cumsum(sizes).tolist()
    return [list(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]


def check_against_twin(
    batches: Sequence[Sequence[Window]], sizes: Sequence[int], decoding: DecodeSettings
) -> None:
    calibration = Calibration(temperature=1.7, threshold=0.3)
    contexts = [["x" * 5000] * size for size in sizes]
    predictions = decode(batches, contexts, decoding=decoding, calibration=calibration)
    windows = [w for batch in batches for w in batch]
    for prediction, question in zip(predictions, examples_of(sizes), strict=True):
        expected, null = twin(windows, question, decoding)
        assert quotes(prediction) == expected
        assert prediction.null_score == null
        scores = [*(score for *_, score in expected), *([null] if decoding.use_null else [])]
        shares = twin_softmax(scores, 1.7) if scores else []
        null_share = shares.pop() if decoding.use_null else 0.0
        assert [a.probability for a in prediction.answers] == pytest.approx(shares, abs=1e-12)
        assert prediction.null_probability == pytest.approx(null_share, abs=1e-12)
        answered = bool(expected) and not (decoding.use_null and null_share > 0.3)
        assert prediction.best == (prediction.answers[0] if answered else None)


@given(cases())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_equals_the_twin(case: tuple[list[list[Window]], list[int], DecodeSettings]) -> None:
    check_against_twin(*case)


@given(
    st.integers(0, 2**32),
    st.sampled_from([1, 2, 7, 12, 20, 29, 30, 36]),
    st.sampled_from([1, 5, 20, 100]),
)
@settings(max_examples=60, deadline=None)
def test_equals_the_twin_on_long_windows(seed: int, reach: int, n_best: int) -> None:
    """Long enough for many parts to choose from; logits of a half-precision grid, for ties."""
    rng = np.random.default_rng(seed)
    windows = []
    for example in [*rng.integers(0, 3, 3).tolist(), 0, 1, 2]:
        tokens = int(rng.integers(1, 50))
        text = "".join(rng.choice(list("abcd" + " " * int(rng.integers(2))), 150))
        cuts = np.sort(rng.choice(150, tokens + 1, replace=False)).tolist()
        edges = text_edges(text, cuts)
        start, end = np.round(rng.normal(0, 3, (2, tokens)) * 4) / 4
        windows.append(window(edges, start.tolist(), end.tolist(), example=example))
    decoding = DecodeSettings(max_answer_tokens=reach, n_best=n_best)
    check_against_twin([windows[:4], windows[4:]], [2, 1], decoding)


@given(st.lists(st.tuples(st.integers(0, 1), *[small_integers] * 8), min_size=1, max_size=12))
def test_equals_the_twin_where_windows_show_the_same(shown: list[tuple[Any, ...]]) -> None:
    windows = [
        Window(example=example, edges=WORDS, start=logits[:4], end=logits[4:])
        for example, *logits in shown
    ]
    check_against_twin([windows], [2], DecodeSettings(n_best=8))


# What the numbers promise


WORDS = [(0, 3), (4, 7), (8, 11)]  # "one two six"


@given(cases())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_probabilities_are_shares(
    case: tuple[list[list[Window]], list[int], DecodeSettings],
) -> None:
    batches, sizes, decoding = case
    contexts = [["x" * 30] * size for size in sizes]
    for prediction in decode(batches, contexts, decoding=decoding):
        shares = [answer.probability for answer in prediction.answers]
        assert all(0 <= share <= 1 for share in [*shares, prediction.null_probability])
        if decoding.use_null or shares:
            assert math.fsum([*shares, prediction.null_probability]) == pytest.approx(1, abs=1e-12)


def test_extreme_logits_stay_finite() -> None:
    far = window(WORDS, [1e38, -1e38, 0], [1e38, -1e38, 0], null=-1e38)
    (prediction,) = decode([[far]], [["one two six"]])
    assert prediction.answers[0].probability == 1.0
    assert prediction.null_probability == 0.0
    assert math.fsum(answer.probability for answer in prediction.answers) == 1.0


def test_top_k_cuts_answers_and_nothing_else() -> None:
    windows = [window(WORDS, [1, 2, 3], [3, 2, 1], null=1.5)]
    (every,) = decode([windows], [["one two six"]])
    assert len(every.answers) == 6
    for top_k in (1, 2, 50):
        (some,) = decode([windows], [["one two six"]], top_k=top_k)
        assert some == replace(every, answers=every.answers[:top_k])


def test_threshold_is_strict() -> None:
    # One span with the score of null: half and half, exactly.
    windows = [[window(WORDS[:1], [1], [2], null=3.0)]]
    (kept,) = decode(windows, [["one"]], calibration=Calibration(threshold=0.5))
    assert kept.null_probability == 0.5
    assert kept.best == kept.answers[0]
    below = math.nextafter(0.5, 0)
    (refused,) = decode(windows, [["one"]], calibration=Calibration(threshold=below))
    assert refused.best is None
    assert refused.answers == kept.answers


def test_temperature_flattens_probabilities_and_leaves_scores() -> None:
    windows = [[window(WORDS[:1], [3], [3], null=0.0)]]
    for temperature in (0.5, 1.0, 4.0):
        (prediction,) = decode(windows, [["one"]], calibration=Calibration(temperature=temperature))
        assert prediction.answers[0].score == 6.0
        odds = prediction.answers[0].probability / prediction.null_probability
        assert odds == pytest.approx(math.exp(6 / temperature))


def test_calibrated_where_something_was_fitted() -> None:
    windows = [[window(WORDS, [1, 2, 3], [3, 2, 1])]]
    (plain,) = decode(windows, [["one two six"]])
    (fitted,) = decode(windows, [["one two six"]], calibration=Calibration(fitted_on="dev"))
    assert not plain.calibrated
    assert fitted.calibrated


def test_null_score_is_the_lowest_over_windows_and_contexts() -> None:
    windows = [
        window(WORDS, [1, 2, 3], [3, 2, 1], null=null, example=example)
        for example, null in [(0, 4.0), (1, -2.0), (0, 9.0), (2, -8.0)]
    ]
    first, second = decode([windows[:2], windows[2:]], [["one two six"] * 2, ["one two six"]])
    assert first.null_score == -2.0
    assert second.null_score == -8.0


def test_without_null_the_best_is_the_top_answer() -> None:
    windows = [[window(WORDS, [1, 2, 3], [3, 2, 1], null=100.0)]]
    (prediction,) = decode(
        windows,
        [["one two six"]],
        decoding=DecodeSettings(use_null=False),
        calibration=Calibration(threshold=-1.0),
    )
    assert prediction.null_score == 100.0
    assert prediction.null_probability == 0.0
    assert prediction.best == prediction.answers[0]
    assert math.fsum(answer.probability for answer in prediction.answers) == pytest.approx(1)


@pytest.mark.parametrize("use_null", [True, False])
def test_a_window_without_context_has_no_answers(use_null: bool) -> None:
    decoding = DecodeSettings(use_null=use_null)
    (prediction,) = decode([[window([], [], [], null=2.0)]], [[""]], decoding=decoding)
    assert prediction.answers == ()
    assert prediction.best is None
    assert prediction.null_probability == float(use_null)


# Which spans there are


def test_a_span_seen_by_many_windows_is_one_answer() -> None:
    text = "Paris or Paris or Paris or Paris"
    tokens = text_edges(text, [0, 5, 8, 14, 17, 23, 26, 32])
    windows = []
    for first in range(6):  # six windows that overlap almost wholly
        seen = tokens[first // 2 : len(tokens) - (1 + first) // 2 + 1]
        likes = [9.0 if text[start:end] == "Paris" else 0.0 for start, end in seen]
        windows.append(window(seen, likes, likes, null=-5.0))
    decoding = DecodeSettings(max_answer_tokens=1)
    (prediction,) = decode([windows], [[text]], decoding=decoding)
    paris = [answer for answer in prediction.answers if answer.text == "Paris"]
    assert [answer.start for answer in paris] == [0, 9, 18, 27]
    assert prediction.answers[:4] == tuple(paris)
    assert [answer.score for answer in paris] == [18.0] * 4
    assert [answer.probability for answer in paris] == pytest.approx([0.25] * 4, abs=1e-4)


def test_ties_go_to_the_earlier_context_then_start_then_the_shorter() -> None:
    windows = [
        window(WORDS[:2], [0, 0], [0, 0], example=example, null=-1.0) for example in (1, 0, 1)
    ]
    (prediction,) = decode([windows], [["one two"] * 2])
    assert [(a.context, a.text) for a in prediction.answers] == [
        (context, text) for context in (0, 1) for text in ("one", "one two", "two")
    ]


def test_length_counts_starts_and_not_blanks_or_pieces() -> None:
    text = "a  😀 b c"
    # The blank is a token of its own, and the face two pieces with the offsets of one character.
    edges = [*text_edges(text, [0, 1, 3]), *[(3, 4)] * 2, *text_edges(text, [4, 6, 8])]
    assert edges[1] == (3, 1)
    windows = [[window(edges, [5, *[0] * 5], [*[0] * 4, 5, 0], null=-9.0)]]
    for reach, text_found in [(3, "a  😀 b"), (2, "a  😀")]:
        decoding = DecodeSettings(max_answer_tokens=reach)
        (prediction,) = decode(windows, [[text]], decoding=decoding)
        starting = [answer.text for answer in prediction.answers if answer.start == 0]
        assert max(starting, key=len) == text_found


def test_tokens_may_share_a_character() -> None:
    """As the byte pieces of two faces do, where one piece holds bytes of both."""
    windows = [[window([(0, 2), (1, 3)], [4, 3], [1, 2], null=-9.0)]]
    (prediction,) = decode(windows, [["😀😀😀"]])
    assert [(a.start, a.end, a.score) for a in prediction.answers] == [
        (0, 3, 6.0),
        (0, 2, 5.0),
        (1, 3, 5.0),
        (1, 2, 4.0),
    ]


def test_a_question_amid_the_context_takes_no_length() -> None:
    batch, logits = collated([window([*WORDS[:2], (-1, -1), WORDS[2]], [9, 0, 9, 0], [0, 0, 9, 9])])
    for reach, best in [(1, "one"), (2, "one two"), (3, "one two six")]:
        decoder = Decoder(DecodeSettings(max_answer_tokens=reach), Calibration())
        decoder.add(batch, logits)
        (prediction,) = decoder.predictions(["q"], [["one two six"]])
        starting = [answer.text for answer in prediction.answers if answer.start == 0]
        assert max(starting, key=len) == best


def test_zero_has_no_sign() -> None:
    windows = [[window(WORDS[:2], [-0.0, 0.0], [-0.0, 0.0], null=-9.0)]]
    (prediction,) = decode(windows, [["one two"]])
    assert [answer.text for answer in prediction.answers] == ["one", "one two", "two"]


def test_texts_without_a_token_leave_their_neighbours_in_place() -> None:
    windows = [
        window([], [], [], example=0),
        window(WORDS[:2], [0, 1], [0, 1], example=1),
        window([], [], [], example=2),
        window(WORDS[:1], [0], [0], example=3),
        window(WORDS[:1], [5], [5], example=4),
    ]
    contexts = [["", "one two", "   ", "one"], ["one"]]
    first, second = decode([windows], contexts, decoding=DecodeSettings(max_answer_tokens=1))
    assert [(a.context, a.start, a.text) for a in first.answers] == [
        (1, 4, "two"),
        (1, 0, "one"),
        (3, 0, "one"),
    ]
    assert [(a.context, a.start, a.text) for a in second.answers] == [(0, 0, "one")]


def test_every_token_of_a_window_may_be_context() -> None:
    batch, logits = collated([window(WORDS, [1, 2, 3], [3, 2, 1])])
    decoder = Decoder(DecodeSettings(n_best=5, max_answer_tokens=2), Calibration())
    decoder.add(
        replace(batch, edges=batch.edges[:, 1:]),
        Logits(start_logits=logits.start_logits[:, 1:], end_logits=logits.end_logits[:, 1:]),
    )
    (prediction,) = decoder.predictions(["q"], [["one two six"]])
    assert [answer.text for answer in prediction.answers] == [
        "one",
        "two",
        "six",
        "one two",
        "two six",
    ]


def test_a_blank_token_lends_its_logits_to_its_neighbours() -> None:
    text = "one two"
    edges = text_edges(text, [0, 3, 4, 7])
    (starts_there,) = decode([[window(edges, [0, 7, 0], [0, 0, 0])]], [[text]])
    (ends_there,) = decode([[window(edges, [0, 0, 0], [0, 7, 0])]], [[text]])
    assert starts_there.answers[0].text == "two"
    assert ends_there.answers[0].text == "one"


# What the numbers don't depend on


@given(cases(), st.integers(1, 4), st.integers(0, 5))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_predictions_do_not_depend_on_company(
    case: tuple[list[list[Window]], list[int], DecodeSettings], size: int, extra: int
) -> None:
    batches, sizes, decoding = case
    contexts = [["x" * 30] * n for n in sizes]
    windows = [w for batch in batches for w in batch][::-1]
    regrouped = [windows[i : i + size] for i in range(0, len(windows), size)]
    assert decode(regrouped, contexts, decoding=decoding, extra=extra) == decode(
        batches, contexts, decoding=decoding
    )


def test_a_long_neighbour_does_not_change_a_bit() -> None:
    rng = np.random.default_rng(0)
    decoding = DecodeSettings(n_best=100, max_answer_tokens=1)
    for _ in range(20):
        short, long = (
            window([(n, n + 1) for n in range(size)], *rng.normal(0, 1, (2, size)), example=example)
            for example, size in enumerate([12, 40])
        )
        (alone,) = decode([[short]], [["x" * 12]], decoding=decoding)
        together = decode([[short], [long]], [["x" * 12], ["x" * 40]], decoding=decoding)
        assert together[0] == alone


def random_batches(count: int, *, examples: int) -> list[tuple[Batch, Logits]]:
    """Batches of 64 windows; tokens of odd examples overlap, those of even ones do not."""
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(count):
        windows = []
        for example in rng.integers(0, examples, 64).tolist():
            first = 2 * int(rng.integers(0, 100))
            size = 1 + 2 * (example % 2)
            edges = [(n, n + size) for n in range(first, first + 120, 2)]
            start, end = rng.normal(0, 3, (2, 60)).tolist()
            windows.append(window(edges, start, end, example=example, null=float(rng.normal())))
        batches.append(collated(windows))
    return batches


def test_threads_do_not_change_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spanwise.decoding.decoder._PILE", 5000)  # so that they merge meanwhile
    batches = random_batches(40, examples=50)
    contexts = [["x" * 400]] * 50
    ids = [str(n) for n in range(50)]
    alone, shared = (Decoder(DecodeSettings(), Calibration()) for _ in range(2))
    for batch in batches:
        alone.add(*batch)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda batch: shared.add(*batch), batches))
    assert shared.predictions(ids, contexts) == alone.predictions(ids, contexts)


def kept_spans(decoder: Decoder) -> int:
    return sum(rows.span.size for rows in decoder._kept)


def test_what_is_kept_does_not_grow_with_the_window() -> None:
    kept = []
    for tokens in (50, 500):
        edges = [(2 * i, 2 * i + 1) for i in range(tokens)]
        decoder = Decoder(DecodeSettings(n_best=7), Calibration())
        decoder.add(*collated([window(edges, [0] * tokens, [0] * tokens)] * 3))
        kept.append(kept_spans(decoder))
    assert kept == [21, 21]


def test_what_is_kept_does_not_grow_with_the_windows_of_an_example(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of them are merged where little may pile up, none where everything may."""
    batches = random_batches(100, examples=2)
    predictions = []
    for pile in (10_000, 1_000_000):
        monkeypatch.setattr("spanwise.decoding.decoder._PILE", pile)
        decoder = Decoder(DecodeSettings(), Calibration(temperature=3.0))
        kept = []
        for batch in batches:
            decoder.add(*batch)
            kept.append(kept_spans(decoder))
        assert max(kept) <= pile
        assert (kept[-1] == 100 * 64 * 20) == (pile == 1_000_000)
        predictions.append(decoder.predictions(["a", "b"], [["x" * 400]] * 2))
    assert predictions[0] == predictions[1]


@given(cases())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_merging_early_changes_nothing(
    case: tuple[list[list[Window]], list[int], DecodeSettings],
) -> None:
    batches, sizes, decoding = case
    contexts = [["x" * 30] * n for n in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spanwise.decoding.decoder._PILE", 0)
        merged = decode([[w] for windows in batches for w in windows], contexts, decoding=decoding)
    assert merged == decode(batches, contexts, decoding=decoding)


def test_an_empty_batch_adds_nothing() -> None:
    batch, logits = collated([window(WORDS, [1, 2, 3], [3, 2, 1])])
    decoder = Decoder(DecodeSettings(), Calibration())
    decoder.add(batch, logits)
    before = decoder.predictions(["q"], [["one two six"]])
    fields = {name: getattr(batch, name)[:0] for name in vars(batch)}
    nothing = np.empty((0, 0), np.float32)
    decoder.add(Batch(**fields), Logits(start_logits=nothing, end_logits=nothing))
    assert decoder.predictions(["q"], [["one two six"]]) == before


# What is refused


@pytest.mark.parametrize("side", ["start", "end"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38])
@pytest.mark.parametrize("token", [0, 2])
def test_wrong_logits_are_refused(side: str, value: float, token: int) -> None:
    good = window(WORDS, [1, 2, 3], [3, 2, 1], example=4)
    logits = {"start": list(good.start), "end": list(good.end)}
    logits[side][token] = value
    bad = Window(example=7, edges=WORDS, start=logits["start"], end=logits["end"])
    decoder = Decoder(DecodeSettings(), Calibration())
    message = rf"{re.escape(f'{value:g}')} as {side} logit of token {token} .*example 7: .*dtype"
    with pytest.raises(CheckpointError, match=message):
        decoder.add(*collated([good, bad]))


def test_questions_without_a_window_are_named() -> None:
    windows = [[window(WORDS, [1, 2, 3], [3, 2, 1], example=1)]]
    with pytest.raises(ValueError, match=r"2 of 3 questions, among them \['q0', 'q2'\]"):
        decode(windows, [["one two six"]] * 3)


def test_windows_of_no_context_are_refused() -> None:
    windows = [[window(WORDS, [1, 2, 3], [3, 2, 1], example=5)]]
    with pytest.raises(ValueError, match="example 5 was added, but only 2 contexts"):
        decode(windows, [["one two six"]] * 2)


def test_ids_and_contexts_must_agree() -> None:
    with pytest.raises(ValueError, match="2 ids are given for the contexts of 1 questions"):
        Decoder(DecodeSettings(), Calibration()).predictions(["a", "b"], [["one"]])


def test_no_questions_give_no_predictions() -> None:
    assert Decoder(DecodeSettings(), Calibration()).predictions([], []) == []


def test_top_k_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="top_k is 0"):
        Decoder(DecodeSettings(), Calibration()).predictions([], [], top_k=0)


def test_all_wrong_settings_are_named() -> None:
    decoding = DecodeSettings(n_best=0, max_answer_tokens=-3)
    with pytest.raises(
        ConfigError, match=r"n_best is 0: .*\nmax_answer_tokens is -3: .*\ntemperature is nan"
    ):
        Decoder(decoding, Calibration(temperature=math.nan))
