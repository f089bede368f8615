"""The last look before files are published: secrets, and paths that tell of a machine.

Text is searched whole. Of safetensors the header is, which is all the text they hold; of ONNX
graphs, every run of printable characters. A vocabulary is made of pieces of any text, `/home` among
them, so it is searched for secrets alone; a SentencePiece file names the place its author trained
it at, so it is searched for secrets and for the folders of this machine. This module knows nothing
about cards.
"""

import json
import mmap
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from spanwise.errors import ConfigError

_SECRETS = {
    "a Hugging Face token": r"(?<![A-Za-z0-9])(?:hf|api_org)_[A-Za-z0-9]{20,}",
    "a GitHub token": r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})",
    "an API key": r"(?<![A-Za-z0-9])sk-[\w-]{20,}",
    "an AWS key": r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[0-9A-Z]{16}",
    "a Google API key": r"(?<![A-Za-z0-9])AIza[\w-]{35}",
    "a Slack token": r"(?<![A-Za-z0-9])xox[abeprs]-[\w-]{10,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[\w+/=\s]|\\[nr])*",
    "a password in a URL": r"[a-z][a-z0-9+.-]{1,30}://[\w.%+-]{1,80}:[^\s/@\"'\\]{1,80}@",
}

_ROOTS = (
    "home|Users|root|tmp|var|private|mnt|media|data|scratch|workspace|opt|srv|usr|Volumes|content|"
    "kaggle|dbfs|nfs|gpfs|lustre"
)
# Not after a letter, a dot or a slash, where it is part of a URL or of a relative path; but after a
# line end as JSON writes it.
_UNIX = rf"(?:(?<![\w./~-])|(?<=\\[nrt])|(?<=file://))/(?:{_ROOTS})/[\w.~@+-]{{2,}}[^\s\"'<>|\\]*"
_DRIVE = r"(?<![A-Za-z0-9])[A-Za-z]:(?:\\{1,2}|/)[\w .~-]{2,}(?:\\{1,2}|/)"
_USERS = r"[A-Za-z]:\\{1,2}Users\\{1,2}[\w .~-]{2,}"  # rare enough among random bytes

_PATH = "a path of a machine"

_VOCABULARIES = {"added_tokens.json", "merges.txt", "vocab.json", "vocab.txt"}
_PIECES = re.compile(r'"(?:vocab|merges)"\s*:\s*(?=[\[{])')  # within tokenizer.json

_AROUND = 30  # characters shown on either side
_REACH = 500  # characters on either side in which a secret is masked whole
_SHOWN = 4  # characters of a secret, so that its owner knows it


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds a secret or a path of a machine.

    Raises:
        ConfigError: with every place, its secrets masked.
    """
    mend = "take it out of the model's own file of that name, then publish again"
    leaks = [leak for file in sorted(folder.iterdir()) for leak in find_leaks(file)]
    if leaks:
        raise ConfigError(f"{leak}; {mend}" for leak in leaks)


def find_leaks(file: Path) -> list[str]:
    """Every secret and path of a machine in a file, as `file: line 3: what it is: 'excerpt'`."""
    anywhere, here = {_PATH: "|".join([_UNIX, _DRIVE, *_here()])}, {_PATH: "|".join(_here())}
    if file.suffix == ".safetensors":
        return _search(file.name, _header(file), _SECRETS | anywhere, lines=False)
    if file.suffix == ".onnx":
        rare = {_PATH: "|".join([_UNIX, _USERS, *_here()])}
        return _search(file.name, _printable(file), _SECRETS | rare, lines=False)
    if file.suffix == ".model":
        return _search(file.name, _printable(file), _SECRETS | here, lines=False)
    text = file.read_text(encoding="utf-8", errors="replace")
    leaks = _search(file.name, text, _SECRETS)
    if file.name not in _VOCABULARIES:
        readable = _without_pieces(text) if file.name == "tokenizer.json" else text
        leaks += _search(file.name, readable, anywhere)
    return leaks


def is_machine_path(text: str) -> bool:
    """Whether a whole string is a path of a machine, this one or another."""
    return any(re.match(pattern, text) for pattern in (_UNIX, _DRIVE, *_here()))


def masked(text: str) -> str:
    """A text in which of each secret only the first characters are left."""
    for pattern in _SECRETS.values():
        text = re.sub(pattern, lambda found: f"{found.group()[:_SHOWN]}…", text)
    return text


def _here() -> list[str]:
    """Patterns of this machine's own folders; one at the root, as `/app`, says nothing."""
    folders = {Path.cwd(), Path.home(), Path(tempfile.gettempdir())}
    known = sorted(str(folder) for folder in folders if len(folder.parts) > 2)
    return [rf"(?<![\w.~-]){re.escape(folder)}(?![\w-])" for folder in known]


def _search(name: str, text: str, kinds: Mapping[str, str], *, lines: bool = True) -> list[str]:
    return [
        f"{name}: {f'line {_line(text, found.start())}' if lines else 'in its metadata'}: {kind}: "
        f"{_excerpt(text, *found.span())!r}"
        for kind, pattern in kinds.items()
        if pattern
        for found in re.finditer(pattern, text)
    ]


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _excerpt(text: str, start: int, end: int) -> str:
    """What stands around a place in its line, every secret masked before it is cut."""
    first = max(text.rfind("\n", 0, start) + 1, start - _REACH)
    last = text.find("\n", end)
    last = min(len(text) if last < 0 else last, end + _REACH)
    before, found, after = map(masked, (text[first:start], text[start:end], text[end:last]))
    return f"{before[-_AROUND:]}{found}{after[:_AROUND]}".strip()


def _header(file: Path) -> str:
    """The JSON that a safetensors file begins with: names, shapes, metadata."""
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        return opened.read(min(size, file.stat().st_size)).decode(errors="replace")


def _printable(file: Path) -> str:
    """The runs of printable characters of a binary file, one a line."""
    if not file.stat().st_size:
        return ""  # which cannot be mapped
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return b"\n".join(re.findall(rb"[ -~]{8,}", data)).decode("ascii")


def _without_pieces(text: str) -> str:
    """A tokenizer.json with blanks in place of its vocabulary; its lines stay what they are."""
    kept, place = [], 0
    while found := _PIECES.search(text, place):
        try:
            _, end = json.JSONDecoder().raw_decode(text, found.end())
        except ValueError:
            break  # no JSON: all of it is searched
        kept += [text[place : found.end()], "\n" * text.count("\n", found.end(), end)]
        place = end
    return "".join([*kept, text[place:]])
