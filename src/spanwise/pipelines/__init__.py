"""The call of the pipeline that transformers 5.3 removed, over a `Reader`.

    making ─── calling     what the old call took; its parameters and its results
               ├─ transformers4   spans and scores as transformers 4.57.6 gave them
               └─ words           spans widened to whole words

This package knows nothing about how a model is run or a checkpoint is read.
"""

from spanwise.pipelines.calling import QuestionAnsweringPipeline
from spanwise.pipelines.making import pipeline

__all__ = ["QuestionAnsweringPipeline", "pipeline"]
