"""The question-answering pipeline of transformers 4, run by its own environment.

It reads one line of JSON with the model's folder and the questions; then, for each further line, it
answers all of them and writes its answers as one line.
"""

import json
import sys
import warnings

import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, pipeline

warnings.filterwarnings("ignore")
task = json.loads(sys.stdin.readline())
torch.set_num_threads(task["threads"])
answer = pipeline(
    "question-answering",
    model=AutoModelForQuestionAnswering.from_pretrained(task["model"]),
    tokenizer=AutoTokenizer.from_pretrained(task["model"]),
)
for _ in sys.stdin:
    found = answer(
        [{"question": question, "context": context} for question, context in task["pairs"]],
        max_seq_len=task["max_length"],
        doc_stride=task["stride"],
        max_answer_len=task["max_answer"],
    )
    listed = found if isinstance(found, list) else [found]  # it unwraps a list of one
    print(json.dumps([one["answer"] for one in listed]), flush=True)
