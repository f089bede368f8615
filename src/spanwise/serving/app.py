"""The routes.

This module knows nothing about processes, sockets or who may ask.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Body, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from spanwise.errors import ConfigError, DataError
from spanwise.pipelines import QuestionAnsweringPipeline
from spanwise.reader import Reader
from spanwise.serving.engine import Engine
from spanwise.serving.gate import Gate, Limits
from spanwise.serving.listing import listing
from spanwise.serving.logs import RequestLog
from spanwise.serving.metrics import Metrics
from spanwise.serving.refusals import KINDS, Refusal
from spanwise.serving.schemas import (
    AnswerRequest,
    AnswerResponse,
    Error,
    Health,
    HubRequest,
    HubResponse,
    Info,
    Wrapped,
    faults,
)

T = TypeVar("T")

_ABOUT = (
    "Answers that are quotes from the text you send, or that it holds none. Where the server has a "
    "token, send it as 'Authorization: Bearer TOKEN'. Errors read {error, error_type}."
)
_SILENT: TelemetryConfig = {  # whatever the environment says; its logs would hold texts
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
_MOST_SENT = 4  # times the bytes of a request; all answers to a thousand questions have fewer
_REFUSED_ASKING = (400, 401, 413, 422, 429, 500, 503, 504)


class Service:
    """What the routes share: the engine, once there is one, and what is measured.

    Args:
        model: folder or Hub id, as it was asked for; of a folder, only the name is shown.
        limits: what a request may take.
    """

    def __init__(self, model: str, limits: Limits) -> None:
        is_folder = Path(model).is_dir() or Path(model).is_absolute()
        self.model = Path(model).resolve().name if is_folder else model
        self.limits = limits
        self.metrics = Metrics()
        self.engine: Engine | None = None

    def start(self, reader: Reader) -> None:
        """Warm a reader up, and answer with it from then on."""
        engine = Engine(reader, jobs=self.limits.queue, watch=self.metrics.batch)
        engine.submit(lambda job: job.answer("Is it warm?", "It is warm.")).result.result()
        self.engine = engine

    def stop(self) -> None:
        """Give up what is not answered."""
        engine, self.engine = self.engine, None
        if engine is not None:
            engine.close()

    async def run(self, work: Callable[[Reader], T]) -> T:
        """Have the engine do it, for as long as this is awaited.

        Raises:
            Refusal: there is no engine, or the request is at fault.
        """
        if self.engine is None:
            raise Refusal(503, retry_after=1)
        job = self.engine.submit(work)
        try:
            return await asyncio.wrap_future(job.result)
        except (ConfigError, DataError) as error:
            raise Refusal(422, str(error)) from error
        finally:
            job.cancel()

    def check(self, questions: Sequence[str], contexts: Sequence[str]) -> None:
        """Hold a request against the limits; one text may serve all questions.

        Raises:
            Refusal: it asks too much.
        """
        limits = self.limits
        read = sum(map(len, contexts)) * (len(questions) if len(contexts) == 1 else 1)
        for what, value, limit in (
            ("questions", len(questions), limits.items),
            ("texts", len(contexts), limits.items),
            ("characters in a question", max(map(len, questions)), limits.question),
            ("characters of context, counted for each question", read, limits.context),
        ):
            if value > limit:
                raise Refusal(422, f"{value} {what}; this server takes {limit} in one request")

    def response(self, content: Any) -> Response:
        """What is sent; a client that does not read it must not fill the memory.

        Raises:
            Refusal: it is far larger than a request may be, as where each of many answers has a
                word without end.
        """
        response = JSONResponse(content)
        if len(response.body) > _MOST_SENT * self.limits.body:
            raise Refusal(
                422,
                f"the answers have {len(response.body)} bytes, more than this server sends; the "
                "text holds a word without end, or ask for fewer by top_k",
            )
        return response


def make_app(service: Service, *, token: str | None = None, origins: Sequence[str] = ()) -> ASGIApp:
    """The application with all that stands before it.

    Args:
        service: answers.
        token: that clients must bring; None: none.
        origins: of pages in browsers that may ask; none but the server's own by default.
    """
    inner = FastAPI(
        title="spanwise", version=version("spanwise"), description=_ABOUT,
        docs_url=None, redoc_url=None, strict_content_type=False, telemetry=_SILENT,
    )  # fmt: skip
    _add_errors(inner)
    _add_questions(inner, service)
    _add_information(inner, service)
    gate = Gate(inner, limits=service.limits, token=token)
    service.metrics.count_queue(lambda: gate.inside)
    outer: ASGIApp = gate
    if origins:
        outer = CORSMiddleware(
            gate, allow_origins=origins, allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )  # fmt: skip
    return RequestLog(outer, metrics=service.metrics)


def _add_questions(app: FastAPI, service: Service) -> None:
    refused = _documented(*_REFUSED_ASKING)

    @app.post("/", response_model=HubResponse, responses=refused)
    @app.post("/question-answering", response_model=HubResponse, responses=refused)
    async def question_answering(asked: Annotated[HubRequest, Body()]) -> Response:
        """Answer as the Hub's inference contract has it.

        One object for one question; a list where `top_k` is above 1, or several are asked.
        """
        inputs = asked.inputs if isinstance(asked, Wrapped) else asked
        question, context = inputs.question, inputs.context
        service.check(_listed(question), _listed(context))
        parameters = {} if asked.parameters is None else asked.parameters.model_dump()

        def answer(reader: Reader) -> Any:
            call = QuestionAnsweringPipeline(reader)
            return call(question=question, context=context, **parameters)

        return service.response(await service.run(answer))

    @app.post("/v1/answer", response_model=AnswerResponse, responses=refused)
    async def answer(asked: AnswerRequest) -> Response:
        """Answer one question with all that is known: spans, scores, probabilities, threshold."""
        contexts = asked.contexts or [asked.context or ""]
        service.check([asked.question], contexts)

        def read(reader: Reader) -> dict[str, Any]:
            prediction = reader.answer(asked.question, contexts, top_k=asked.top_k)
            return asdict(prediction) | {"threshold": reader.settings.calibration.threshold}

        return service.response(await service.run(read))


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _add_information(app: FastAPI, service: Service) -> None:
    page = files("spanwise.serving") / "page.html"
    html = page.read_text(encoding="utf-8") if page.is_file() else None

    @app.head("/", include_in_schema=False)
    @app.get("/", response_class=HTMLResponse, responses=_documented(404))
    async def ask() -> HTMLResponse:
        """A page to ask from."""
        if html is None:
            raise Refusal(404)
        return HTMLResponse(html)

    @app.head("/health", include_in_schema=False)
    @app.get("/health")
    async def health() -> Health:
        """Say that the process lives."""
        return Health(status="alive")

    @app.head("/ready", include_in_schema=False)
    @app.get("/ready", responses=_documented(503))
    async def ready() -> Health:
        """Say that the model is loaded and has read something."""
        if service.engine is None:
            raise Refusal(503, retry_after=1)
        return Health(status="ready")

    @app.get("/info", responses=_documented(401))
    async def info() -> Info:
        """Say what is served, and what a request may take."""
        return _info(service)

    @app.get("/metrics", response_class=Response, responses=_documented(401))
    async def metrics() -> Response:
        """Give what Prometheus reads."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/docs", response_class=HTMLResponse, responses=_documented(401))
    async def docs() -> HTMLResponse:
        """List the routes."""
        return HTMLResponse(listing(app.openapi()))


def _info(service: Service) -> Info:
    reader = None if service.engine is None else service.engine.reader
    settings = None if reader is None else reader.settings
    return Info(
        model=service.model,
        version=version("spanwise"),
        backend=None if reader is None else type(reader.backend).__name__,
        calibrated=None if settings is None else bool(settings.calibration.fitted_on),
        threshold=None if settings is None else settings.calibration.threshold,
        settings={}
        if settings is None
        else {"window": asdict(settings.window), "decode": asdict(settings.decode)},
        limits=asdict(service.limits),
    )


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refuse(_request: Request, refusal: Refusal) -> Response:
        return refusal.response()

    @app.exception_handler(Exception)
    async def refuse_failures(_request: Request, _error: Exception) -> Response:
        return Refusal(500).response()  # and then it is raised again, to be logged

    @app.exception_handler(RequestValidationError)
    async def refuse_faults(request: Request, error: RequestValidationError) -> Response:
        message = faults(error.errors())
        kind = request.headers.get("content-type", "application/json")
        if "json" not in kind:
            message = f"content-type is {kind!r:.80}; send JSON as application/json"
        return Refusal(422, message).response()

    @app.exception_handler(HTTPException)
    async def refuse_others(_request: Request, error: HTTPException) -> Response:
        known = KINDS.get(error.status_code)
        refusal = Refusal(error.status_code, known[1] if known else error.detail)
        response = refusal.response()
        response.headers.update(error.headers or {})
        return response


def _documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content: Mapping[str, Any] = {"model": Error}
    return {status: {**content, "description": KINDS[status][1]} for status in statuses}
