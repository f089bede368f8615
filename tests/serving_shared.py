"""Readers and servers that the tests of serving make for themselves."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread

import uvicorn

from spanwise.backends import Backend, FakeBackend
from spanwise.reader import Reader
from spanwise.schema import Batch, Logits, ReaderSettings, WindowSettings
from spanwise.serving.app import Service, make_app
from spanwise.serving.gate import Limits
from spanwise.windows import PairTokenizer
from tests.conftest import make_tokenizer

SETTINGS = ReaderSettings(window=WindowSettings(max_length=24, stride=6, max_question_tokens=8))
TOKENIZER = PairTokenizer(make_tokenizer(), {"cls_token": "[CLS]", "pad_token": "[PAD]"})
SCORES = {"red": 6.0, "green": 5.0, "blue": 7.0}


class Slow:
    """A backend that can be held up, and remembers what it was given."""

    def __init__(self, backend: Backend) -> None:
        self.batches: list[Batch] = []
        self.began = Event()
        self.free = Event()
        self.free.set()
        self._backend = backend

    def __call__(self, batch: Batch) -> Logits:
        """Wait until it may, and read."""
        self.batches.append(batch)
        self.began.set()
        assert self.free.wait(20)
        return self._backend(batch)

    def hold(self) -> None:
        """Keep the next batch waiting."""
        self.began.clear()
        self.free.clear()

    def has_read(self, word: str) -> bool:
        """Whether a batch held the word."""
        (token,) = TOKENIZER.tokenizer.encode(word, add_special_tokens=False).ids
        return any((batch.input_ids == token).any() for batch in self.batches)


def fake_reader(*, null: float = 0.0, batch_tokens: int = 96) -> Reader:
    """A reader that quotes colours; the model's limit on windows is left out."""
    backend = Slow(FakeBackend(SCORES, TOKENIZER, null=null))
    return Reader(backend, TOKENIZER, SETTINGS, batch_tokens=batch_tokens)


def slow(reader: Reader) -> Slow:
    """The backend of `fake_reader`."""
    assert isinstance(reader.backend, Slow)
    return reader.backend


@contextmanager
def running(
    reader: Reader | None,
    *,
    limits: Limits | None = None,
    token: str | None = None,
    origins: Sequence[str] = (),
) -> Iterator[str]:
    """The URL of a server that is up; without a reader it is never ready."""
    service = Service("OWNER/NAME", limits or Limits())
    app = make_app(service, token=token, origins=origins)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    thread = Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    if reader is not None:
        service.start(reader)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        if reader is not None and isinstance(reader.backend, Slow):
            reader.backend.free.set()
        thread.join()
        service.stop()
