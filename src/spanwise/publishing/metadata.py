"""The front matter of a model card, as the Hub reads it. This module knows nothing about prose."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spanwise.checkpoints import EXPORT_FILE
from spanwise.corpus.hub import PREFIX, REPOSITORY
from spanwise.publishing.licences import Licence
from spanwise.publishing.provenance import hub_model
from spanwise.publishing.results import LEARNT, Result
from spanwise.schema import ReaderSettings

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

TASK = "question-answering"

WIDGETS: Mapping[str, tuple[str, str]] = {
    "en": (
        "Who built the mill?",
        "The mill by the bridge was built in 1854 by Ada Green. Tom Brown ran it until 1901.",
    ),
    "de": (
        "Wer baute die Mühle?",
        "Die Mühle an der Brücke wurde 1854 von Ada Grün gebaut. Tom Braun betrieb sie bis 1901.",
    ),
    "es": (
        "¿Quién construyó el molino?",
        "El molino junto al puente fue construido en 1854 por Ada Verde. Luego lo llevó Tomás Gil.",
    ),
    "ar": (
        "من بنى الطاحونة؟",
        "بنت ليلى حداد الطاحونة قرب الجسر عام 1854. ثم أدارها سامي نجار حتى عام 1901.",
    ),
    "vi": (
        "Ai đã xây cối xay?",
        "Cối xay bên cây cầu do bà Nguyễn Thị Lan xây năm 1854. Ông Nam coi nó đến năm 1901.",
    ),
    "hi": (
        "चक्की किसने बनवाई?",
        "पुल के पास की चक्की 1854 में आशा वर्मा ने बनवाई। 1901 तक उसे मोहन दास चलाते रहे।",
    ),
    "zh": ("谁建造了磨坊？", "桥边的磨坊由林秀英于1854年建造。此后由陈大明经营到1901年。"),
    "ja": (
        "水車小屋を建てたのは誰ですか？",
        "橋のそばの水車小屋は1854年に森春子が建てた。1901年までは林太郎が営んだ。",
    ),
    "ko": (
        "누가 방앗간을 지었나요?",
        "다리 옆 방앗간은 1854년에 김영희가 지었다. 그 뒤 1901년까지 박철수가 운영했다.",
    ),
}
"""Language → a question and a text of our own that holds the answer."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """What is published.

    Attributes:
        repo: `OWNER/NAME` on the Hub.
        settings: of the reader, without paths.
        config: `config.json`.
        files: names of its files.
        source: the Hub id that it was fetched from; "" for a folder or the builtin reader.
    """

    repo: str
    settings: ReaderSettings
    config: Mapping[str, Any]
    files: frozenset[str]
    source: str = ""

    @property
    def has_weights(self) -> bool:
        """Whether PyTorch can load it."""
        return any(file.endswith(".safetensors") for file in self.files)

    @property
    def is_exported(self) -> bool:
        """Whether ONNX Runtime can."""
        return EXPORT_FILE in self.files

    @property
    def is_plain(self) -> bool:
        """Whether transformers reads spans with it, without spanwise."""
        return self.has_weights and self.settings.head.get("kind") == "linear"

    @property
    def base(self) -> str:
        """The Hub id of the model it was made from; "" where none is known."""
        provenance = self.settings.provenance
        out = str((provenance.get("recipe") or {}).get("out", ""))
        for life in (provenance, *provenance.get("ancestors", ())):
            name = str(life.get("base_model", ""))
            if found := hub_model(name, out=out, is_folder=life.get("base_is_folder")):
                return found
        return self.source


def widget(language: str) -> tuple[str, str]:
    """A question and a text, in a language that there is one for, else in English."""
    return WIDGETS.get(language, WIDGETS["en"])


def card_data(
    model: Model, results: Sequence[Result], *, licence: Licence, language: str
) -> "ModelCardData":
    """The front matter.

    Args:
        model: what is published.
        results: what was measured of it; those of data that it learnt from are left out, as
            whoever compares models by their front matter would not see the warning.
        licence: it is published under.
        language: of its data, ISO 639; "" leaves it out.
    """
    from huggingface_hub import ModelCardData

    results = [result for result in results if result.seen != LEARNT]
    question, context = widget(language)
    train = [_hub_data(source)["path"] for source in model.settings.provenance.get("train", ())]
    tags = ["spanwise", "extractive-qa", *(["onnx"] if model.is_exported else [])]
    return ModelCardData(
        language=language or None,
        license=licence.identifier,
        license_name=licence.name,
        license_link=licence.link,
        library_name="transformers" if model.is_plain else "spanwise",
        pipeline_tag=TASK,
        tags=tags,
        base_model=model.base or None,
        datasets=sorted({path for path in train if path}) or None,
        metrics=["exact_match", "f1"] if results else None,
        model_name=model.repo.split("/")[-1] if results else None,
        eval_results=[entry for result in results for entry in _entries(result)] or None,
        widget=[{"text": question, "context": context}],
    )


def _entries(result: Result) -> "Iterator[EvalResult]":
    """Exact match and F1 at the stored threshold, in percent."""
    from huggingface_hub import EvalResult

    parts = _hub_data(result.name)
    name = parts["path"] or result.name
    for key, metric, label in (("exact", "exact_match", "Exact match"), ("f1", "f1", "F1")):
        yield EvalResult(
            task_type=TASK,
            task_name="Extractive question answering",
            dataset_type=name,
            dataset_name=f"{name} (the threshold was fitted here)" if result.seen else name,
            dataset_config=parts["config"],
            dataset_split=parts["split"],
            dataset_revision=parts["revision"],
            metric_type=metric,
            metric_name=label,
            metric_value=round(result.scores[key], 2),
        )


def _hub_data(source: str) -> dict[str, str | None]:
    """The parts of a source that is a data set of the Hub; None for each of any other."""
    found = REPOSITORY.fullmatch(source.removeprefix(PREFIX)) if source.startswith(PREFIX) else None
    return found.groupdict() if found else dict.fromkeys(REPOSITORY.groupindex)
