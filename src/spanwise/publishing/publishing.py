"""A model becomes a folder that the Hub understands, checked, and then a commit there.

This module knows nothing about what a card says or how files travel.
"""

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spanwise.checkpoints import (
    BUILTIN,
    atomic_folder,
    check_replaceable,
    checkpoint_files,
    fetch_folder,
    is_checkpoint_file,
    write_settings,
)
from spanwise.errors import ConfigError
from spanwise.evaluation import evaluate
from spanwise.metrics import LANGUAGES
from spanwise.publishing.cards import make_card
from spanwise.publishing.leaks import check_folder
from spanwise.publishing.licences import choose_licence
from spanwise.publishing.metadata import Model
from spanwise.publishing.provenance import clean_json, clean_settings
from spanwise.publishing.results import Result, kept, measured
from spanwise.publishing.uploading import check_access, check_name, upload_files
from spanwise.reader import Reader
from spanwise.schema import Example, ReaderSettings

logger = logging.getLogger("spanwise")

CARD_FILE = "README.md"

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*|multilingual")

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class CardOptions:
    """What a model's own files do not tell.

    Attributes:
        license: an identifier of the Hub, or "other"; None: that of the card beside the model.
        license_name: of a licence that is "other".
        license_link: to its text.
        language: of its data, as ISO 639 writes it; None: that of the card beside the model.
        data: path of a file, or `hub:OWNER/NAME…` → its examples, labelled and with distinct ids,
            which the model is scored on for the card.
    """

    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    language: str | None = None
    data: Mapping[str, Sequence[Example]] = field(default_factory=dict)


def publish_model(
    model: str | Path,
    repo: str,
    *,
    card: CardOptions = CardOptions(),
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
    progress: Progress | None = None,
) -> str:
    """Put a reader on the Hub: its files and a model card, in one commit, or not at all.

    Args:
        model: folder or Hub id of a model that reads spans, or "builtin".
        repo: `OWNER/NAME` on the Hub; made where it does not exist.
        card: licence, language, and data to score the model on.
        private: make the repository private; one that is public already is refused.
        revision: branch, tag or commit of a model on the Hub.
        token: that may write to `repo`; by default the one that `hf auth login` stored.
        progress: called with windows read and windows known of, while the model is scored.

    Returns:
        The URL of the commit.

    Raises:
        CheckpointError: no reader, or the Hub or the connection refused; the repository is then as
            it was, and the same call again sends only what has not arrived.
        ConfigError: as `write_publication`, or the Hub does not take the card.
        DataError: examples that cannot be scored.
    """
    check_name(repo)
    check_access(token)
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "model"
        write_publication(
            model, repo, out, card=card, revision=revision, token=token, progress=progress
        )
        return upload_files(out, repo, private=private, token=token)


def write_publication(
    model: str | Path,
    repo: str,
    out: str | Path,
    *,
    card: CardOptions = CardOptions(),
    revision: str | None = None,
    token: str | None = None,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Write the folder that `publish_model` uploads, byte for byte.

    Args:
        model: as in `publish_model`, like those that follow.
        repo: likewise.
        out: a new or empty folder, or one that this has written.
        card: likewise.
        revision: likewise.
        token: likewise.
        progress: likewise.

    Returns:
        Name of each file → bytes.

    Raises:
        CheckpointError: no reader.
        ConfigError: no licence, a name that is none, somebody else's folder at `out`, or a secret
            or a path of a machine in a file; nothing is written.
        DataError: examples that cannot be scored.
    """
    check_name(repo)
    folder = fetch_folder(model, revision=revision, token=token)
    check_replaceable(
        Path(out),
        folder,
        mark=CARD_FILE,
        is_ours=lambda name: name == CARD_FILE or is_checkpoint_file(name),
        what="published model",
    )
    source = "" if model == BUILTIN or Path(model).is_dir() else str(model)
    stated = _front_matter(_card_of(source, revision, token) if source else folder / CARD_FILE)
    licence = choose_licence(
        card.license, name=card.license_name, link=card.license_link, stated=stated
    )
    asked = _checked_language(card.language)
    reader = Reader.from_pretrained(folder)
    settings = clean_settings(reader.settings)
    results = _score(reader, settings, card.data, asked, progress) or kept(settings)
    text = make_card(
        Model(
            repo=repo,
            settings=settings,
            config=json.loads((folder / "config.json").read_bytes()),
            files=frozenset(file.name for file in checkpoint_files(folder)),
            source=source,
        ),
        results,
        licence=licence,
        language=_language(asked, stated, results),
    )
    return lay_out(folder, Path(out), settings=settings, card=text)


def lay_out(folder: Path, out: Path, *, settings: ReaderSettings, card: str) -> dict[str, int]:
    """Write the folder that is published: the files of a model, cleaned, and its card.

    Args:
        folder: of the model.
        out: as `checkpoints.atomic_folder` takes it.
        settings: of the reader, without paths.
        card: its text, front matter included.

    Returns:
        Name of each file → bytes.

    Raises:
        ConfigError: a secret or a path of a machine is in a file; nothing is written.
    """
    with atomic_folder(out) as fresh:
        for file in checkpoint_files(folder):
            shutil.copyfile(file, fresh / file.name)
        clean_json(fresh)
        write_settings(fresh, settings)
        (fresh / CARD_FILE).write_bytes(card.encode(errors="backslashreplace"))
        check_folder(fresh)
        return {file.name: file.stat().st_size for file in sorted(fresh.iterdir())}


def _score(
    reader: Reader,
    settings: ReaderSettings,
    data: Mapping[str, Sequence[Example]],
    language: str | None,
    progress: Progress | None,
) -> list[Result]:
    rules = language if language in LANGUAGES else "en" if language else None
    reports = {
        source: evaluate(reader, examples, language=rules, progress=progress)
        for source, examples in data.items()
    }
    results = measured(reports, settings)
    for result in results:
        if result.seen:
            logger.warning("%s is data %s; the card says so", result.name, result.seen)
    return results


def _checked_language(language: str | None) -> str | None:
    if language is not None and not _LANGUAGE.fullmatch(language):
        raise ConfigError(
            f"language {language!r} is no code of ISO 639; write it as en, de, zh or multilingual"
        )
    return language


def _language(asked: str | None, stated: Mapping[str, Any], results: Sequence[Result]) -> str:
    """The language that the card states; "" for none: "en" is also what a guess falls back to."""
    if asked:
        return asked.removesuffix("-cmrc")
    told = stated.get("language")
    told = told[0] if isinstance(told, list) and len(told) == 1 else told
    told = "no" if told is False else told  # as YAML reads Norwegian
    if isinstance(told, str) and _LANGUAGE.fullmatch(told):
        return told
    guessed = {result.language.removesuffix("-cmrc") for result in results} - {"", "en"}
    if len(guessed) == 1:
        return guessed.pop()
    logger.info("the card states no language; --language en would")
    return ""


def _card_of(name: str, revision: str | None, token: str | None) -> Path | None:
    """The card of a model on the Hub, where it has one."""
    from huggingface_hub import errors, hf_hub_download

    try:
        return Path(hf_hub_download(name, CARD_FILE, revision=revision, token=token))
    except errors.EntryNotFoundError:
        return None


def _front_matter(file: Path | None) -> dict[str, Any]:
    """What the card of a model states; nothing where there is no card or no front matter."""
    if file is None or not file.is_file():
        return {}
    text = file.read_text(encoding="utf-8-sig", errors="replace")
    found = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, flags=re.DOTALL)
    if found is None:
        return {}
    import yaml  # type: ignore[import-untyped]  # huggingface_hub depends on it

    try:
        data = yaml.safe_load(found[1])
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
        reason = " ".join(str(error).split())
        raise ConfigError(f"{file}: its front matter is not YAML: {reason}; mend it") from error
    return data if isinstance(data, dict) else {}
