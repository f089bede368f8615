"""Files into one commit on the Hub, or nothing: what broke off leaves the repository as it was.

`HfApi.create_commit` asks the Hub whether it takes the card, sends the large files beforehand to a
store that keeps what has arrived, and commits last, so that a second call sends only what is
missing. `upload_folder` of huggingface_hub 2 may make several commits, and does not ask. This
module knows nothing about what is in the files.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from spanwise.checkpoints import is_checkpoint_file
from spanwise.errors import CheckpointError, ConfigError, SpanwiseError
from spanwise.publishing.leaks import masked

logger = logging.getLogger("spanwise")

_NO_ANSWER = (AttributeError, KeyError, TypeError)  # of JSON that is not the Hub's, as of a proxy

_LONGEST = 300  # characters of an answer that are shown

_AGAIN = "run the same command again: what has arrived is not sent twice"
_LOGIN = "log in with 'hf auth login', set HF_TOKEN, or pass a token that may write"

_WITH_MEND = {
    401: f"the Hub does not know this token; {_LOGIN}",
    402: "the Hub asks for a payment or a larger plan; see huggingface.co/settings/billing",
    403: "this token may not write there; use one with write access that belongs to a member of "
    "the organisation, or name a repository of your own",
    404: "the Hub finds no such repository for this token; check the name and the token's rights",
    409: f"somebody else changed the repository meanwhile; {_AGAIN}",
    412: f"somebody else changed the repository meanwhile; {_AGAIN}",
    429: f"the Hub asks to wait; {_AGAIN}, in some minutes",
}


def check_name(repo: str) -> None:
    """Refuse what cannot be the name of a repository.

    Raises:
        ConfigError: it cannot.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
        reason = "" if repo.count("/") == 1 else "it has no owner"
    except HFValidationError as error:
        reason = " ".join(str(error).split()).rstrip(".")
    if reason:
        raise ConfigError(f"repository {repo!r} is none: {reason}; name it OWNER/NAME")


def check_access(token: str | None = None, *, endpoint: str | None = None) -> None:
    """See that there is a token and that the Hub knows it, before long work begins.

    Raises:
        CheckpointError: neither, or the Hub is not reached.
    """
    from huggingface_hub import HfApi, get_token

    if not (token or get_token()):
        raise CheckpointError(f"there is no token for the Hub; {_LOGIN}")
    with _explained("the Hub"):
        HfApi(endpoint=endpoint, token=token).whoami()


def upload_files(
    folder: Path,
    repo: str,
    *,
    private: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
) -> str:
    """Commit the files of a folder to a repository, which is made where there is none.

    Files of an earlier model that this one has not are deleted in the same commit: weights beside
    an export would be taken for it.

    Args:
        folder: whose files are sent; it has no folders in it.
        repo: `OWNER/NAME`.
        private: make it private.
        token: by default the one that `hf auth login` stored.
        endpoint: of another Hub; by default HF_ENDPOINT's.

    Returns:
        The URL of the commit.

    Raises:
        CheckpointError: the Hub or the connection refused.
        ConfigError: the Hub does not take the card, or the repository is public.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(
        endpoint=endpoint, token=token, library_name="spanwise", library_version=version("spanwise")
    )
    with _explained(repo):
        api.create_repo(repo, private=private or None, exist_ok=True)
        if private and not api.model_info(repo).private:
            raise ConfigError(
                f"{repo} exists and is public: nothing was uploaded; make it private at "
                f"{api.endpoint}/{repo}/settings, or name another"
            )
        sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
        stale = [
            name
            for name in api.list_repo_files(repo)
            if "/" not in name and is_checkpoint_file(name) and name not in sizes
        ]
        if stale:
            logger.info("files of an earlier model are deleted there: %s", ", ".join(stale))
        logger.info("%d files, %.1f MB, to %s", len(sizes), sum(sizes.values()) / 1e6, repo)
        commit = api.create_commit(
            repo,
            [
                *(CommitOperationDelete(name) for name in stale),
                *(CommitOperationAdd(name, folder / name) for name in sorted(sizes)),
            ],
            commit_message=f"Publish with spanwise {version('spanwise')}",
        )
    return str(commit.commit_url)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn whatever goes wrong on the way into an error that says what to do."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

    try:
        yield
    except SpanwiseError:
        raise
    # OSError of the connection, RuntimeError of hf_xet; the others of answers that are none
    except (HTTPError, OSError, RuntimeError, ValueError, *_NO_ANSWER) as error:
        if isinstance(error, ValueError) and "metadata in README.md" in str(error):
            reason = _in_one_line(error)
            raise ConfigError(f"{what}: the Hub does not take the card: {reason}") from error
        # The transfer without hf_xet hides the Hub's answer behind an error of its own.
        cause = error.__cause__ if isinstance(error.__cause__, HfHubHTTPError) else error
        reason = _in_one_line(cause)
        if isinstance(cause, HfHubHTTPError):
            status = cause.response.status_code
            broken = f"the Hub is in trouble and has confirmed nothing; {_AGAIN}, in a while"
            mend = _WITH_MEND.get(status, broken if status >= 500 else "mend that and try again")
            raise CheckpointError(f"{what}: {mend} (status {status}: {reason})") from error
        raise CheckpointError(
            f"{what}: the connection failed before anything was confirmed: {reason}; check it and "
            f"{_AGAIN}"
        ) from error


def _in_one_line(error: BaseException) -> str:
    """An error without secrets, such as the signature of a URL, and without what moves a cursor."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", re.sub(r"\?\S+", "?…", masked(text)))
    return text[:_LONGEST].rstrip(".") + "…" * (len(text) > _LONGEST)
