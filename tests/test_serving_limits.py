"""What is refused: too much, too late, without a token, or without sense; never by a 5xx."""

import asyncio
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from spanwise.errors import ConfigError
from spanwise.schema import Batch, Logits
from spanwise.serving.gate import Limits
from spanwise.serving.logs import JsonFormatter
from tests.serving_shared import fake_reader, running, slow

LIMITS = Limits(body=3_000, question=50, context=400, items=5)
GOOD = {"question": "which ?", "context": "the red lamp"}
TOP_K = b'{"question": "which ?", "context": "a", "top_k": %b, "parameters": {"top_k": %b}}'
ASKING = ("/", "/question-answering", "/v1/answer")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(fake_reader(), limits=LIMITS) as url:
        yield url


def refused(response: httpx.Response, status: int, kind: str) -> str:
    """The message of a refusal, which is JSON and tells nothing of the machine."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"error", "error_type"}
    assert body["error_type"] == kind
    assert "Traceback" not in body["error"]
    assert "/work" not in body["error"]
    assert "site-packages" not in body["error"]
    return str(body["error"])


# -- size ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ASKING)
def test_a_large_body_is_refused_by_its_declared_length(url: str, path: str) -> None:
    body = json.dumps(GOOD | {"context": "x" * 4_000}).encode()
    message = refused(httpx.post(url + path, content=body), 413, "too_large")
    assert message == "the body has more than 3000 bytes; send less at once"


def test_a_large_body_is_refused_while_it_comes(url: str) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 100

    refused(httpx.post(url, content=chunks()), 413, "too_large")


def test_a_body_that_never_ends_is_refused_at_the_limit(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + b"BB8\r\n" + b"x" * 3_000 + b"\r\n1\r\nx\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (GOOD | {"question": "x" * 51}, "51 characters in a question; this server takes 50"),
        (GOOD | {"context": "x" * 401}, "401 characters of context, counted for each question"),
    ],
)
@pytest.mark.parametrize("path", ASKING)
def test_long_texts_are_refused(url: str, path: str, body: dict[str, Any], message: str) -> None:
    assert message in refused(httpx.post(url + path, json=body), 422, "invalid")


def test_of_many_faults_the_first_is_told(url: str) -> None:
    for field, path in ("contexts", "/v1/answer"), ("question", "/"):
        body = {"question": "which ?", "context": "a", field: [1] * 900}
        message = refused(httpx.post(url + path, json=body), 422, "invalid")
        assert message == f"{field}[0] is 1: Input should be a valid string"
    many = GOOD | {f"f{n}": "x" for n in range(200)}
    message = refused(httpx.post(f"{url}/v1/answer", json=many), 422, "invalid")
    assert message.startswith("the body: 202 fields; there are question, context, contexts, top_k")
    assert httpx.post(url, json=many).status_code == 200  # as the Hub has it


def test_answers_far_larger_than_a_request_may_be_are_refused() -> None:
    body = {"question": "which ?", "context": "the red lamp " * 20}
    with running(fake_reader(), limits=Limits(body=330)) as url:
        message = refused(httpx.post(f"{url}/v1/answer", json=body), 422, "invalid")
        assert "more than this server sends; the text holds a word without end" in message
        assert httpx.post(f"{url}/v1/answer", json=body | {"top_k": 1}).status_code == 200


def test_what_many_texts_take_together_is_limited(url: str) -> None:
    several = {"question": "which ?", "contexts": ["x" * 150] * 3}
    message = refused(httpx.post(f"{url}/v1/answer", json=several), 422, "invalid")
    assert "450 characters of context" in message
    several = {"question": "which ?", "contexts": ["a"] * 6}
    message = refused(httpx.post(f"{url}/v1/answer", json=several), 422, "invalid")
    assert "6 texts; this server takes 5" in message
    shared = {"question": ["which ?"] * 5, "context": "x" * 81}
    assert "405 characters of context" in refused(httpx.post(url, json=shared), 422, "invalid")
    many = {"question": ["which ?"] * 6, "context": "a"}
    assert "6 questions" in refused(httpx.post(url, json=many), 422, "invalid")


def test_limits_that_let_nothing_through_are_refused() -> None:
    with pytest.raises(ConfigError, match="queue is 0; it must be above 0"):
        Limits(queue=0)


# -- time ----------------------------------------------------------------------------------------


def test_a_full_queue_refuses_at_once_and_tells_when_to_come_back() -> None:
    reader = fake_reader()
    with running(reader, limits=Limits(queue=2)) as url, ThreadPoolExecutor(2) as pool:
        slow(reader).hold()
        waiting = [pool.submit(httpx.post, url, json=GOOD) for _ in range(2)]
        wait_until(lambda: gauge(url) == 2)
        with httpx.Client() as client:
            client.get(f"{url}/health")
            times = []
            for _ in range(5):
                began = time.perf_counter()
                response = client.post(url, content=b"no json, which is not looked at")
                times.append(time.perf_counter() - began)
                refused(response, 429, "overloaded")
                assert response.headers["Retry-After"] == "1"
        assert min(times) < 0.05  # of the server's 10 ms and what the client takes
        slow(reader).free.set()
        assert [future.result().status_code for future in waiting] == [200, 200]
        assert httpx.post(url, json=GOOD).status_code == 200


def test_what_takes_too_long_is_dropped() -> None:
    reader = fake_reader()
    with running(reader, limits=Limits(timeout=0.3)) as url, ThreadPoolExecutor(1) as pool:
        slow(reader).hold()
        first = pool.submit(httpx.post, url, json=GOOD)
        assert slow(reader).began.wait(10)
        late = httpx.post(url, json=GOOD | {"context": "the river"})
        assert refused(late, 504, "timeout").startswith("no answer within 0.3 s")
        refused(first.result(), 504, "timeout")
        slow(reader).free.set()
        assert httpx.post(url, json=GOOD).status_code == 200
    assert not slow(reader).has_read("river")


def test_a_body_that_comes_too_slowly_is_dropped() -> None:
    with running(fake_reader(), limits=Limits(timeout=0.3)) as url:

        async def drip() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.sleep(1)
            yield b"}"

        async def ask() -> httpx.Response:
            async with httpx.AsyncClient() as client:
                return await client.post(url, content=drip())

        refused(asyncio.run(ask()), 504, "timeout")


def test_a_client_that_left_is_not_read() -> None:
    reader = fake_reader()
    with running(reader) as url, ThreadPoolExecutor(1) as pool:
        slow(reader).hold()
        first = pool.submit(httpx.post, url, json=GOOD)
        assert slow(reader).began.wait(10)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(url, json=GOOD | {"context": "the river"}, timeout=0.3)
        wait_until(lambda: gauge(url) == 1)
        slow(reader).free.set()
        assert first.result().status_code == 200
        assert httpx.post(url, json=GOOD | {"context": "the valve"}).status_code == 200
    assert slow(reader).has_read("valve")
    assert not slow(reader).has_read("river")


def gauge(url: str) -> float:
    (line,) = (
        line
        for line in httpx.get(f"{url}/metrics").text.splitlines()
        if line.startswith("spanwise_queue_requests ")
    )
    return float(line.split()[1])


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- who -----------------------------------------------------------------------------------------


def test_a_token_is_asked_for_everywhere_but_where_there_is_nothing_to_take() -> None:
    with running(fake_reader(), token="secret") as url:
        for path in ("/health", "/ready", "/"):
            assert httpx.get(url + path).status_code == 200
        for path in ("/info", "/metrics", "/docs", "/openapi.json", "/elsewhere"):
            response = httpx.get(url + path)
            refused(response, 401, "unauthorized")
            assert response.headers["WWW-Authenticate"] == "Bearer"
        for given in ("Bearer wrong", "Bearer", "Basic secret", "secret", "Bearer sécret"):
            for path in ASKING:
                response = httpx.post(
                    url + path, json=GOOD, headers={b"Authorization": given.encode()}
                )
                refused(response, 401, "unauthorized")
        for given in ("Bearer secret", "bearer secret", "Bearer  secret"):
            headers = {"Authorization": given}
            assert httpx.post(url, json=GOOD, headers=headers).status_code == 200
        assert httpx.get(f"{url}/info", headers=headers).status_code == 200


def test_pages_of_other_origins_may_ask_only_where_they_are_named(url: str) -> None:
    origin = {"Origin": "https://page.example"}
    asks = origin | {"Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in httpx.post(url, json=GOOD, headers=origin).headers
    assert httpx.options(url, headers=asks).status_code == 405
    with running(fake_reader(), origins=[origin["Origin"]], token="secret") as named:
        assert httpx.options(named, headers=asks).status_code == 200
        response = httpx.post(named, json=GOOD, headers=origin)
        assert response.status_code == 401
        assert response.headers["access-control-allow-origin"] == origin["Origin"]
        other = httpx.post(named, json=GOOD, headers={"Origin": "https://other.example"})
        assert "access-control-allow-origin" not in other.headers


# -- the server's own faults ---------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError, ConfigError, TimeoutError])
@pytest.mark.parametrize("path", ASKING)
def test_a_failure_is_told_without_its_message_and_logged_without_texts(
    path: str,
    error: type[Exception],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = fake_reader()

    def fail(_: Batch) -> Logits:
        raise error("/home/somebody: the red lamp")

    with running(reader) as url, caplog.at_level(logging.INFO, "spanwise.serving"):
        monkeypatch.setattr(reader, "backend", fail)
        response = httpx.post(url + path, json=GOOD)
        message = refused(response, 500, "internal")
        assert message == "The server failed; its log says how, under this X-Request-ID."
        assert httpx.get(f"{url}/health").status_code == 200
    line = next(record for record in caplog.records if record.levelname == "ERROR")
    fields = getattr(line, "fields")  # noqa: B009
    assert fields["request_id"] == response.headers["X-Request-ID"]
    assert (fields["error"], fields["cause"]["error"]) == ("BackendError", error.__name__)
    assert fields["cause"]["where"][-1].startswith("test_serving_limits.fail:")
    assert "lamp" not in JsonFormatter().format(line)


# -- nonsense ------------------------------------------------------------------------------------


def test_paths_and_methods_that_are_not_there(url: str) -> None:
    refused(httpx.get(f"{url}/elsewhere"), 404, "not_found")
    refused(httpx.post(f"{url}/elsewhere", json={}), 404, "not_found")
    response = httpx.get(f"{url}/v1/answer")
    refused(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "POST"
    refused(httpx.delete(url), 405, "method_not_allowed")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"inputs": {"question": "which ?", "context": 5}}, "inputs.context is 5: "),
        ({"inputs": {"question": "which ?"}}, "inputs.context is missing"),
        ({"inputs": {"question": [], "context": "a"}}, "inputs.question is []: "),
        ({"inputs": {"question": ["a", 5], "context": "a"}}, "inputs.question[1] is 5: "),
        ({"inputs": {"question": "", "context": "a"}}, "inputs.question is '': "),
        ({"inputs": {"question": " ", "context": "a"}}, "question is ' '; give some text"),
        ({"inputs": {"question": ["a"], "context": ["a", "b"]}}, "1 questions and 2 contexts"),
        ({"inputs": GOOD, "parameters": {"top_k": "5"}}, "parameters.top_k is '5': "),
        ({"inputs": GOOD, "parameters": {"top_k": 0}}, "parameters.top_k is 0: "),
        ({"inputs": GOOD, "parameters": {"top_k": True}}, "parameters.top_k is True: "),
        ({"inputs": GOOD, "parameters": {"max_seq_len": 10**30}}, "parameters.max_seq_len is 1000"),
        ({"inputs": GOOD, "parameters": {"max_seq_len": 3}}, "max_length is 3: 3 special tokens"),
        ({"inputs": GOOD, "parameters": {"align_to_words": 1}}, "parameters.align_to_words is 1: "),
        ({"question": "which ?"}, "context is missing"),
        ([GOOD], "the body is [{'context': "),
        ({}, "inputs is missing"),
    ],
)
def test_a_fault_of_the_hubs_body_is_named(url: str, body: Any, message: str) -> None:
    assert message in refused(httpx.post(url, json=body), 422, "invalid")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"question": "which ?"}, "give either context, one text, or contexts"),
        (GOOD | {"contexts": ["a"]}, "give either context, one text, or contexts"),
        (GOOD | {"topk": 1}, "topk is 1: there is no such field"),
        (GOOD | {"question": "\n"}, "holds nothing to read; give some text"),
        ({"question": "which ?", "contexts": ["a", ""]}, "contexts[1] is '': "),
        ({"question": "which ?", "contexts": []}, "contexts is []: give at least one"),
        (GOOD | {"\ud800": 1}, r"the body is '\ud800': "),
    ],
)
def test_a_fault_of_a_question_is_named(url: str, body: Any, message: str) -> None:
    content = json.dumps(body).encode()  # in ASCII: httpx cannot write half a surrogate pair
    response = httpx.post(
        f"{url}/v1/answer", content=content, headers={"Content-Type": "application/json"}
    )
    assert message in refused(response, 422, "invalid")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"NaN",
        b'{"question": NaN, "context": Infinity}',
        *(
            TOP_K % (value, value)
            for value in (b"NaN", b"1e999", b"1.5", b"9" * 1_000, b"-" + b"9" * 1_000)
        ),
        b'{"question": "\\ud800", "context": "a"}',
        b'{"question": "which ?", "context": "\\udfff red"}',
        b'{"question": ' + b"[" * 900 + b"]" * 900 + b', "context": "a"}',
        b"[" * 2_900,
        b'{"a":' * 450 + b"1" + b"}" * 450,
    ],
)
@pytest.mark.parametrize("path", ASKING)
def test_hostile_bodies_are_the_clients_fault(url: str, path: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    response = httpx.post(url + path, content=body, headers=headers)
    assert response.status_code in {400, 422}
    refused(
        response, response.status_code, {400: "bad_request", 422: "invalid"}[response.status_code]
    )


def test_a_body_in_another_encoding_is_told(url: str) -> None:
    body = b'{"question": "which ?", "context": "the red caf\xe9"}'
    response = httpx.post(
        f"{url}/v1/answer", content=body, headers={"Content-Type": "application/json"}
    )
    assert "cannot be read: no text, or JSON" in refused(response, 400, "bad_request")


def test_control_characters_are_text(url: str) -> None:
    body = GOOD | {"context": "\0 the red\x7f lamp \u2028"}
    found = httpx.post(f"{url}/v1/answer", json=body).json()
    assert body["context"][found["best"]["start"] : found["best"]["end"]] == found["best"]["text"]
    assert httpx.post(url, json=GOOD | {"context": "\0"}).json()["answer"] == ""


def test_a_form_is_told_to_come_as_json(url: str) -> None:
    for path in ASKING:
        message = refused(httpx.post(url + path, data=GOOD), 422, "invalid")
        assert message.endswith("send JSON as application/json")
