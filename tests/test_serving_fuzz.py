"""The server holds to its own OpenAPI, whatever is sent to it."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serving_shared import fake_reader, running

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
ASKING = [
    (path, "POST", mode)
    for path in ("/", "/question-answering", "/v1/answer")
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
]
TELLING = [
    (path, "GET", GenerationMode.POSITIVE)
    for path in ("/", "/health", "/ready", "/info", "/metrics", "/docs")
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(fake_reader()) as url:
        yield url


@pytest.mark.slow
@pytest.mark.parametrize(("path", "method", "mode"), [*ASKING, *TELLING])
def test_every_answer_is_as_documented(
    url: str, path: str, method: str, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")

    @settings(
        max_examples=25, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(case=schema[path][method].as_strategy(generation_mode=mode))
    def check(case: Case[Any]) -> None:
        case.call_and_validate(checks=CHECKS)

    check()
