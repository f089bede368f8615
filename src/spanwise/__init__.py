"""Extractive question answering, end to end.

Question and text in; the exact span that answers out, with its place and an honest probability, or
"not in this text". Names are loaded when they are first used, so that importing spanwise is light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spanwise.auditing import audit_examples, repair_examples
    from spanwise.backends import Backend, FakeBackend, OnnxBackend, TorchBackend
    from spanwise.bulk import BulkConfig, answer_table
    from spanwise.comparison import Comparison, compare_answers
    from spanwise.corpus import read_examples, scan_examples, write_examples
    from spanwise.errors import (
        AlignmentError,
        CheckpointError,
        ConfigError,
        DataError,
        FormatError,
        MissingExtra,
        ParityError,
        SpanwiseError,
    )
    from spanwise.evaluation import evaluate, fit_calibration, recalibrated
    from spanwise.exporting import Exported, export_model
    from spanwise.metrics import score_predictions
    from spanwise.pipelines import pipeline
    from spanwise.publishing import CardOptions, publish_model, write_publication
    from spanwise.reader import Reader
    from spanwise.schema import (
        Answer,
        Calibration,
        DecodeSettings,
        Example,
        Gold,
        Prediction,
        ReaderSettings,
        Report,
        Windows,
        WindowSettings,
    )
    from spanwise.training import (
        DecodeConfig,
        FitConfig,
        HeadConfig,
        NegativesConfig,
        TrainConfig,
        Trained,
        read_recipe,
        read_stages,
        train,
    )
    from spanwise.windows import PairTokenizer, make_windows, stream_windows

_HOMES = {
    "auditing": ("audit_examples", "repair_examples"),
    "backends": ("Backend", "FakeBackend", "OnnxBackend", "TorchBackend"),
    "bulk": ("BulkConfig", "answer_table"),
    "comparison": ("Comparison", "compare_answers"),
    "corpus": ("read_examples", "scan_examples", "write_examples"),
    "errors": (
        "AlignmentError", "CheckpointError", "ConfigError", "DataError", "FormatError",
        "MissingExtra", "ParityError", "SpanwiseError",
    ),
    "evaluation": ("evaluate", "fit_calibration", "recalibrated"),
    "exporting": ("Exported", "export_model"),
    "metrics": ("score_predictions",),
    "pipelines": ("pipeline",),
    "publishing": ("CardOptions", "publish_model", "write_publication"),
    "reader": ("Reader",),
    "schema": (
        "Answer", "Calibration", "DecodeSettings", "Example", "Gold", "Prediction",
        "ReaderSettings", "Report", "WindowSettings", "Windows",
    ),
    "training": (
        "DecodeConfig", "FitConfig", "HeadConfig", "NegativesConfig", "TrainConfig", "Trained",
        "read_recipe", "read_stages", "train",
    ),
    "windows": ("PairTokenizer", "make_windows", "stream_windows"),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__version__ = "0.1.0"

__all__ = [
    "AlignmentError",
    "Answer",
    "Backend",
    "BulkConfig",
    "Calibration",
    "CardOptions",
    "CheckpointError",
    "Comparison",
    "ConfigError",
    "DataError",
    "DecodeConfig",
    "DecodeSettings",
    "Example",
    "Exported",
    "FakeBackend",
    "FitConfig",
    "FormatError",
    "Gold",
    "HeadConfig",
    "MissingExtra",
    "NegativesConfig",
    "OnnxBackend",
    "PairTokenizer",
    "ParityError",
    "Prediction",
    "Reader",
    "ReaderSettings",
    "Report",
    "SpanwiseError",
    "TorchBackend",
    "TrainConfig",
    "Trained",
    "WindowSettings",
    "Windows",
    "answer_table",
    "audit_examples",
    "compare_answers",
    "evaluate",
    "export_model",
    "fit_calibration",
    "make_windows",
    "pipeline",
    "publish_model",
    "read_examples",
    "read_recipe",
    "read_stages",
    "recalibrated",
    "repair_examples",
    "scan_examples",
    "score_predictions",
    "stream_windows",
    "train",
    "write_examples",
    "write_publication",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'spanwise' has no attribute {name!r}")
    value = getattr(import_module(f"spanwise.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
