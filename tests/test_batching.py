"""Plans cover every window once; a padded batch holds what its windows hold."""

import re
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanwise.batching import collate, plan_batches
from spanwise.errors import ConfigError
from spanwise.schema import Batch, Windows

PAD = 99


def numbered_windows(lengths: list[int]) -> Windows:
    """Windows of the given lengths whose every number is different from its neighbours'."""
    tokens, count = sum(lengths), len(lengths)

    def numbers(size: int, start: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        return np.arange(start, start + size, dtype=np.int32)

    return Windows(
        row_splits=np.cumsum([0, *lengths], dtype=np.int64),
        input_ids=numbers(tokens, 1000),
        type_ids=numbers(tokens, 2000),
        offsets=numbers(2 * tokens, 3000).reshape(-1, 2),
        edges=numbers(2 * tokens, 4000).reshape(-1, 2),
        example=numbers(count, 5000),
        null_position=numbers(count, 6000),
        first=numbers(count, 7000),
        last=numbers(count, 8000),
    )


def collate_slowly(windows: Windows, indices: list[int]) -> Batch:
    """The twin: one row after the other, one token after the other."""
    lengths = [int(windows.lengths[index]) for index in indices]
    shape = (len(indices), max(lengths, default=0))
    input_ids = np.full(shape, PAD, dtype=np.int32)
    attention_mask = np.zeros(shape, dtype=np.int32)
    type_ids = np.zeros(shape, dtype=np.int32)
    edges = np.full((*shape, 2), -1, dtype=np.int32)
    for row, index in enumerate(indices):
        for column in range(lengths[row]):
            token = windows.row_splits[index] + column
            input_ids[row, column] = windows.input_ids[token]
            attention_mask[row, column] = 1
            type_ids[row, column] = windows.type_ids[token]
            edges[row, column] = windows.edges[token]
    return Batch(
        input_ids=input_ids,
        attention_mask=attention_mask,
        type_ids=type_ids,
        edges=edges,
        example=np.array([windows.example[index] for index in indices], dtype=np.int32),
        null_position=np.array([windows.null_position[index] for index in indices], dtype=np.int32),
        first=np.array([windows.first[index] for index in indices], dtype=np.int32),
        last=np.array([windows.last[index] for index in indices], dtype=np.int32),
    )


@settings(deadline=None)  # a busy machine is no fault
@given(
    lengths=st.lists(st.integers(1, 400), max_size=700),
    batch_size=st.integers(1, 9),
    seed=st.none() | st.integers(0, 5),
)
def test_a_plan_holds_each_window_once(
    lengths: list[int], batch_size: int, seed: int | None
) -> None:
    plan = plan_batches(lengths, batch_size=batch_size, seed=seed)
    assert sorted(index for batch in plan for index in batch.tolist()) == list(range(len(lengths)))
    assert len(plan) == ceil(len(lengths) / batch_size)
    assert sorted(len(batch) for batch in plan)[1:] == [batch_size] * (len(plan) - 1)


def test_answering_reads_the_longest_first_and_keeps_ties_in_order() -> None:
    plan = plan_batches([3, 9, 3, 9, 5], batch_size=2)
    assert [batch.tolist() for batch in plan] == [[1, 3], [4, 0], [2]]
    assert all(batch.dtype == np.int64 for batch in plan)


def test_a_seed_gives_one_shuffle_and_another_seed_another() -> None:
    lengths = np.random.default_rng(0).integers(20, 384, size=2000)

    def flat(seed: int) -> list[int]:
        plan = plan_batches(lengths, batch_size=8, seed=seed)
        return [index for batch in plan for index in batch.tolist()]

    assert flat(1) == flat(1)
    assert flat(1) != flat(2)


def test_shuffled_batches_hold_windows_of_like_length_in_random_order() -> None:
    lengths = np.random.default_rng(0).integers(20, 384, size=4000)
    plan = plan_batches(lengths, batch_size=8, seed=3)
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in plan)
    assert padded < 1.05 * lengths.sum()
    longest = [int(lengths[batch].max()) for batch in plan]
    assert abs(float(np.corrcoef(longest, np.arange(len(plan)))[0, 1])) < 0.15
    # Not the sorted order in disguise: a window meets other company under another seed.
    other = {frozenset(batch.tolist()) for batch in plan_batches(lengths, batch_size=8, seed=4)}
    assert not other & {frozenset(batch.tolist()) for batch in plan}


@given(
    lengths=st.lists(st.integers(1, 400), max_size=700),
    batch_tokens=st.integers(1, 3000),
    batch_size=st.none() | st.integers(1, 9),
    seed=st.none() | st.integers(0, 5),
)
def test_a_plan_keeps_to_its_budget_of_tokens(
    lengths: list[int], batch_tokens: int, batch_size: int | None, seed: int | None
) -> None:
    plan = plan_batches(lengths, batch_size=batch_size, batch_tokens=batch_tokens, seed=seed)
    assert sorted(index for batch in plan for index in batch.tolist()) == list(range(len(lengths)))
    for batch in plan:
        padded = max(lengths[index] for index in batch) * len(batch)
        assert padded <= batch_tokens or len(batch) == 1
        assert batch_size is None or len(batch) <= batch_size


def test_a_budget_of_tokens_is_used_up() -> None:
    plan = plan_batches([2, 9, 4, 3, 5, 3], batch_tokens=10)
    assert [batch.tolist() for batch in plan] == [[1], [4, 2], [3, 5, 0]]
    lengths = np.random.default_rng(0).integers(20, 384, size=4000)
    plan = plan_batches(lengths, batch_tokens=4096, seed=3)
    assert lengths.sum() > 0.9 * 4096 * len(plan)


@pytest.mark.parametrize("limit", [0, -5, 2.5, float("nan"), "4096"])
def test_a_limit_that_is_no_number_above_zero_is_refused(limit: Any) -> None:
    refusal = re.escape(f"is {limit!r}; it must be a whole number of at least 1")
    with pytest.raises(ConfigError, match=f"batch_tokens {refusal}"):
        plan_batches([1], batch_tokens=limit)
    with pytest.raises(ConfigError, match=f"batch_size {refusal}"):
        plan_batches([1, 2], batch_size=limit)


def test_windows_without_a_token_are_batched() -> None:
    (rows,) = plan_batches([0, 0], batch_tokens=4)
    assert rows.tolist() == [0, 1]


@settings(deadline=None)  # a busy machine is no fault
@given(data=st.data(), lengths=st.lists(st.integers(1, 12), min_size=1, max_size=9))
def test_collate_equals_its_twin(data: st.DataObject, lengths: list[int]) -> None:
    windows = numbered_windows(lengths)
    indices = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=9))
    fast = collate(windows, indices, pad_token_id=PAD)
    slow = collate_slowly(windows, indices)
    for name, expected in vars(slow).items():
        actual = getattr(fast, name)
        assert actual.dtype == expected.dtype == np.int32, name
        np.testing.assert_array_equal(actual, expected, err_msg=name)


def test_padding_is_no_context() -> None:
    batch = collate(numbered_windows([2, 4]), [0, 1], pad_token_id=PAD)
    assert batch.context_mask.tolist() == [[True, True, False, False], [True] * 4]


def test_no_windows_make_no_batch() -> None:
    assert plan_batches([], batch_size=4) == []
    assert plan_batches([], batch_size=4, seed=1) == []
