"""What was measured of a model, as a card shows it: on which data, at which threshold.

This module knows nothing about Markdown or the Hub.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spanwise.corpus.scanning import distinct_names, hash_source
from spanwise.evaluation import fitted_name
from spanwise.publishing.provenance import named_sources
from spanwise.schema import ReaderSettings, Report

FITTED = "where the threshold was fitted"
LEARNT = "which the reader learnt from"


@dataclass(frozen=True, kw_only=True)
class Result:
    """The scores of one data set.

    Attributes:
        name: of the file, or `hub:OWNER/NAME…`.
        scores: as `Report.overall`, or the fewer that training keeps.
        threshold: they were measured at.
        language: whose rules answers were compared by; "" where that was not kept.
        sha256: of the file; "" where it is none, or was not kept.
        seen: `FITTED`, `LEARNT`, or "" for data that the reader has never seen, as far as is known.
        before_export: they are those of the weights that ONNX was made of.
    """

    name: str
    scores: Mapping[str, float]
    threshold: float
    language: str = ""
    sha256: str = ""
    seen: str = ""
    before_export: bool = False


def measured(reports: Mapping[str, Report], settings: ReaderSettings) -> list[Result]:
    """Results of an evaluation made now.

    Args:
        reports: source of the data → its report.
        settings: of the reader, whose provenance tells data that it has seen.
    """
    results = []
    names, seen = distinct_names(reports), seen_data(list(reports), settings)
    for name, how, (source, report) in zip(names, seen, reports.items(), strict=True):
        results.append(
            Result(
                name=name,
                scores=report.overall,
                threshold=report.settings.calibration.threshold,
                language=report.language,
                sha256=hash_source(source) or "",
                seen=how,
            )
        )
    return results


def seen_data(sources: Sequence[str], settings: ReaderSettings) -> list[str]:
    """How a reader has seen each source: `FITTED`, `LEARNT`, or "", as far as is known."""
    return [
        _seen(name, hash_source(source) or "", settings)
        for name, source in zip(distinct_names(sources), sources, strict=True)
    ]


def kept(settings: ReaderSettings) -> list[Result]:
    """The scores that training left in `spanwise.json`, where they are those of this model.

    They are not, once a threshold was fitted on other data or weights were put in eight bits.
    """
    provenance, calibration = settings.provenance, settings.calibration
    scores, dev = provenance.get("dev_scores"), provenance.get("dev")
    if not scores or not dev or settings.export.get("precision") == "int8":
        return []
    threshold = calibration.threshold
    if (
        calibration.fitted_on != fitted_name(list(dev))
        or scores.get("threshold", threshold) != threshold
    ):
        return []
    hashes = dev.values() if isinstance(dev, Mapping) else ()
    sha256 = next(iter(hashes)) if len(hashes) == 1 else ""
    return [
        Result(
            name=", ".join(dev),
            scores=scores,
            threshold=threshold,
            sha256=sha256 or "",
            seen=FITTED,
            before_export=bool(settings.export),
        )
    ]


def _seen(name: str, sha256: str, settings: ReaderSettings) -> str:
    lives = (settings.provenance, *settings.provenance.get("ancestors", ()))
    # What a model has learnt from stays learnt when it is trained on.
    if any(_is_among(_hashes(life.get("train")), name, sha256) for life in lives):
        return LEARNT
    dev = _hashes(settings.provenance.get("dev"))
    fitted_on = [part.strip() for part in settings.calibration.fitted_on.split(",")]
    is_named = name in fitted_on and not (dev.get(name) and sha256)  # else its hash tells
    return FITTED if is_named or _is_among(dev, name, sha256) else ""


def _hashes(sources: Any) -> dict[str, str | None]:
    """Of each source by its name; None where none was kept."""
    named = named_sources(sources or ())
    return named if isinstance(named, dict) else dict.fromkeys(named)


def _is_among(hashes: Mapping[str, str | None], name: str, sha256: str) -> bool:
    """By its hash, or by its name where no hash was kept."""
    return (bool(sha256) and sha256 in hashes.values()) or (name in hashes and not hashes[name])
