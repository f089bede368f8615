"""Fine-tune an encoder with a span head, or a head over a frozen encoder."""

from spanwise.errors import MissingExtra
from spanwise.training.config import (
    DecodeConfig,
    FitConfig,
    HeadConfig,
    NegativesConfig,
    TrainConfig,
)
from spanwise.training.recipes import list_settings, read_recipe, read_stages

try:
    import accelerate  # noqa: F401 - the Trainer asks for it when the data is read already

    from spanwise.training.epochs import Progress, Trained
    from spanwise.training.run import plan_stages, train
except ModuleNotFoundError as error:
    if error.name in {"torch", "transformers", "accelerate"}:
        raise MissingExtra(error.name, "torch") from None
    raise

__all__ = [
    "DecodeConfig",
    "FitConfig",
    "HeadConfig",
    "NegativesConfig",
    "Progress",
    "TrainConfig",
    "Trained",
    "list_settings",
    "plan_stages",
    "read_recipe",
    "read_stages",
    "train",
]
