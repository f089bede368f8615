"""What a client is told: the Hub's contract, whole predictions, and about the server itself."""

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import httpx
import pytest
from huggingface_hub import InferenceClient

from spanwise.pipelines import pipeline
from tests.serving_shared import SETTINGS, fake_reader, running

QUESTION = "which ?"
CONTEXT = "the old lamp is red and the small valve was green ."
OTHER = "a blue bridge"
READER = fake_reader(null=4.0)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(READER) as url:
        yield url


def post(url: str, body: Any) -> Any:
    response = httpx.post(url, json=body)
    assert response.status_code == 200, response.text
    return response.json()


# -- the Hub's contract --------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/question-answering"])
def test_the_client_of_the_hub_works_unchanged(url: str, path: str) -> None:
    client = InferenceClient(base_url=url + path)
    qa = pipeline(model=READER)
    one: Any = client.question_answering(question=QUESTION, context=CONTEXT)
    assert one == qa(question=QUESTION, context=CONTEXT)
    assert CONTEXT[one.start : one.end] == one.answer == "red"
    several = client.question_answering(question=QUESTION, context=CONTEXT, top_k=2)
    assert several == qa(question=QUESTION, context=CONTEXT, top_k=2)


def test_the_async_client_of_the_hub_works_unchanged(url: str) -> None:
    import asyncio

    from huggingface_hub import AsyncInferenceClient

    async def ask() -> Any:
        async with AsyncInferenceClient(base_url=url) as client:
            return await client.question_answering(
                question=QUESTION, context=OTHER, handle_impossible_answer=True, top_k=2
            )

    found = asyncio.run(ask())
    assert [element.answer for element in found] == ["blue", ""]


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"top_k": 1},
        {"top_k": 3},
        {"top_k": 2, "align_to_words": False},
        {"max_answer_len": 1, "max_seq_len": 16, "doc_stride": 2, "max_question_len": 4},
        {"handle_impossible_answer": True, "top_k": 5},
    ],
)
@pytest.mark.parametrize("is_wrapped", [True, False])
def test_parameters_mean_what_they_mean_to_the_pipeline(
    url: str, parameters: dict[str, Any], is_wrapped: bool
) -> None:
    inputs = {"question": QUESTION, "context": CONTEXT}
    body = {"inputs": inputs} if is_wrapped else inputs
    found = post(url, body | {"parameters": parameters})
    assert found == pipeline(model=READER)(**inputs, **parameters)


def test_lists_are_answered_by_lists(url: str) -> None:
    qa = pipeline(model=READER)
    for inputs in (
        {"question": [QUESTION, "what ?"], "context": [CONTEXT, OTHER]},
        {"question": [QUESTION, "what ?"], "context": CONTEXT},
        {"question": [QUESTION], "context": [OTHER]},
    ):
        assert post(url, {"inputs": inputs}) == qa(**inputs)
        assert post(url, inputs | {"parameters": {"top_k": 2}}) == qa(**inputs, top_k=2)


def test_no_answer_is_an_empty_one_at_the_beginning(url: str) -> None:
    inputs = {"question": QUESTION, "context": "the old lamp is quiet"}
    found = post(url, {"inputs": inputs, "parameters": {"handle_impossible_answer": True}})
    assert found | {"score": 0} == {"score": 0, "start": 0, "end": 0, "answer": ""}
    assert 0.5 < found["score"] <= 1


def test_other_fields_are_passed_over(url: str) -> None:
    inputs = {"question": QUESTION, "context": CONTEXT}
    body = {"inputs": inputs | {"id": 7}, "parameters": {"top_p": 1, "top_k": None}, "options": {}}
    assert post(url, body)["answer"] == "red"
    assert post(url, {"inputs": inputs, "parameters": None})["answer"] == "red"


def test_without_a_content_type_a_body_is_taken_for_json(url: str) -> None:
    body = b'{"question": "which ?", "context": "a blue bridge"}'
    assert httpx.post(url, content=body).json()["answer"] == "blue"


# -- whole predictions ---------------------------------------------------------------------------


@pytest.mark.parametrize("top_k", [None, 1, 2])
def test_a_prediction_comes_whole_with_its_threshold(url: str, top_k: int | None) -> None:
    body = {"question": QUESTION, "context": CONTEXT} | ({"top_k": top_k} if top_k else {})
    expected = asdict(READER.answer(QUESTION, CONTEXT, top_k=top_k))
    found = post(f"{url}/v1/answer", body)
    assert found == expected | {"answers": [*expected["answers"]], "threshold": 0.5}
    assert found["best"] == found["answers"][0]
    assert set(found["best"]) == {"text", "start", "end", "context", "score", "probability"}


def test_of_several_texts_the_answer_names_its_own(url: str) -> None:
    found = post(f"{url}/v1/answer", {"question": QUESTION, "contexts": [CONTEXT, OTHER]})
    assert (found["best"]["text"], found["best"]["context"]) == ("blue", 1)


def test_where_there_is_no_answer_best_is_null(url: str) -> None:
    found = post(f"{url}/v1/answer", {"question": QUESTION, "context": "the quiet river"})
    assert found["best"] is None
    assert found["null_probability"] > found["threshold"]


def test_places_are_code_points(url: str) -> None:
    text = "🌉🌉 a blue bridge 𝕒"
    best = post(f"{url}/v1/answer", {"question": QUESTION, "context": text})["best"]
    assert text[best["start"] : best["end"]] == best["text"] == "blue"


# -- the server itself ---------------------------------------------------------------------------


def test_it_says_that_it_lives_and_is_ready(url: str) -> None:
    assert httpx.get(f"{url}/health").json() == {"status": "alive"}
    assert httpx.get(f"{url}/ready").json() == {"status": "ready"}


def test_probes_may_ask_for_the_head_alone(url: str) -> None:
    for path in ("/", "/health", "/ready"):
        response = httpx.head(f"{url}{path}")
        assert (response.status_code, response.content) == (200, b"")
    with running(fake_reader(), token="secret") as closed:
        assert httpx.head(f"{closed}/health").status_code == 200
        assert httpx.head(f"{closed}/info").status_code == 401


def test_before_the_model_is_loaded_it_lives_and_is_not_ready() -> None:
    with running(None) as url:
        assert httpx.get(f"{url}/health").status_code == 200
        assert httpx.get(f"{url}/info").json()["settings"] == {}
        body = {"question": QUESTION, "context": CONTEXT}
        for response in (
            httpx.get(f"{url}/ready"),
            httpx.post(url, json=body),
            httpx.post(f"{url}/v1/answer", json=body),
        ):
            assert response.status_code == 503
            assert response.headers["Retry-After"] == "1"
            assert response.json()["error_type"] == "not_ready"


def test_info_says_what_is_served(url: str) -> None:
    found = httpx.get(f"{url}/info").json()
    assert found["model"] == "OWNER/NAME"
    assert found["backend"] == "Slow"
    assert found["calibrated"] is False
    assert found["settings"]["window"] == asdict(SETTINGS.window)
    assert found["settings"]["decode"]["n_best"] == 20
    assert found["limits"] == {
        "body": 2_000_000, "question": 2_000, "context": 1_000_000, "items": 1_000, "queue": 512,
        "timeout": 30.0,
    }  # fmt: skip


def test_metrics_count_requests_batches_windows_and_tokens(url: str) -> None:
    def read() -> dict[str, float]:
        lines = httpx.get(f"{url}/metrics").text.splitlines()
        return {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
        }

    before = read()
    post(f"{url}/v1/answer", {"question": QUESTION, "context": CONTEXT})
    httpx.post(f"{url}/v1/answer", content=b"{")
    httpx.get(f"{url}/elsewhere/{'x' * 50}")
    after = read()
    grown = {name: value - before.get(name, 0) for name, value in after.items()}
    assert grown['spanwise_requests_total{route="/v1/answer",status="200"}'] == 1
    assert grown['spanwise_requests_total{route="/v1/answer",status="422"}'] == 1
    assert grown['spanwise_requests_total{route="other",status="404"}'] == 1
    assert grown['spanwise_request_seconds_count{route="/v1/answer"}'] == 2
    for name in ("queue_seconds", "inference_seconds", "batch_windows", "batch_tokens"):
        assert grown[f"spanwise_{name}_count"] == 1
    assert grown["spanwise_batch_windows_sum"] >= 1
    assert grown["spanwise_batch_tokens_sum"] > 10
    assert after["spanwise_queue_requests"] == 0


def test_pages_load_nothing_from_elsewhere(url: str) -> None:
    for path in ("/", "/docs"):
        response = httpx.get(url + path)
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", response.text)
        assert not re.findall(r"@import|url\(", response.text)


def test_the_listing_has_every_route_and_field(url: str) -> None:
    listing = httpx.get(f"{url}/docs").text
    openapi = httpx.get(f"{url}/openapi.json").json()
    for path, operations in openapi["paths"].items():
        for method in operations:
            assert f"<code>{method.upper()} {path}</code>" in listing
    assert {*openapi["paths"]} == {
        *("/", "/question-answering", "/v1/answer"),
        *("/health", "/ready", "/info", "/metrics", "/docs"),
    }
    for field in ("inputs.question", "parameters.doc_stride", "contexts", "top_k"):
        assert f"<code>{field}</code>" in listing
    answer = httpx.post(f"{url}/v1/answer", json={"question": QUESTION, "context": CONTEXT}).json()
    for field in (*answer, *(f"best.{name}" for name in answer["best"])):
        assert re.search(f"<code>{field}</code><td>.|<code>{field}[.]", listing)
