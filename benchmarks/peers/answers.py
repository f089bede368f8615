"""Answers of the question-answering pipeline of transformers 4, run by its own environment.

It reads one JSON object with the model's folder, the questions and the parameters of some calls,
and writes one with the results of each call; a question that it crashed on has null.
"""

import json
import sys
import warnings

from transformers import AutoModelForQuestionAnswering, AutoTokenizer, pipeline

warnings.filterwarnings("ignore")
task = json.load(sys.stdin)
answer = pipeline(
    "question-answering",
    model=AutoModelForQuestionAnswering.from_pretrained(task["model"]),
    tokenizer=AutoTokenizer.from_pretrained(task["model"]),
)
calls = []
for parameters in task["calls"]:
    results = []
    for question, context in task["pairs"]:
        try:
            results.append(answer(question=question, context=context, **parameters))
        except BaseException:  # noqa: BLE001 - a panic of the tokenizer is no Exception
            results.append(None)
    calls.append(results)
json.dump(calls, sys.stdout)
