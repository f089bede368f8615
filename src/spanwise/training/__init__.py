"""Fine-tune an encoder with a span head, or a head over a frozen encoder."""

from spanwise.training.config import (
    DecodeConfig,
    FitConfig,
    HeadConfig,
    TrainConfig,
    read_recipe,
)
from spanwise.training.epochs import Progress, Trained
from spanwise.training.run import train

__all__ = [
    "DecodeConfig",
    "FitConfig",
    "HeadConfig",
    "Progress",
    "TrainConfig",
    "Trained",
    "read_recipe",
    "train",
]
