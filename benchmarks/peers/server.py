"""The question-answering pipeline of transformers 4 behind a plain handler of FastAPI.

Called with a model's folder and a port, it is run by its own environment.
"""

import sys
import warnings
from typing import Any

import uvicorn
from fastapi import FastAPI
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, pipeline

warnings.filterwarnings("ignore")
folder, port = sys.argv[1:]
qa = pipeline(
    "question-answering",
    model=AutoModelForQuestionAnswering.from_pretrained(folder),
    tokenizer=AutoTokenizer.from_pretrained(folder),
)
app = FastAPI()


@app.get("/ready")
def ready() -> dict[str, str]:
    """Say that the model is loaded."""
    return {"status": "ready"}


@app.post("/")
def answer(body: dict[str, Any]) -> Any:
    """Answer one question."""
    return qa(**body["inputs"], **body["parameters"])


uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")
