"""Data sets of the Hugging Face Hub, or local folders laid out like one, as rows.

Knows nothing about questions.
"""

import re
from pathlib import Path

from spanwise.corpus.checks import UnreadableError, listing
from spanwise.corpus.parsing import Table
from spanwise.errors import MissingExtra

PREFIX = "hub:"
_FOLDER = re.compile(r"(?P<path>[/.][^:]*)(?::(?P<split>.+))?")

REPOSITORY = re.compile(
    r"(?P<path>[^/:@]+/[^/:@]+)(?:/(?P<config>[^:@]+))?"
    r"(?::(?P<split>[^@]+))?(?:@(?P<revision>.+))?"
)
"""What follows `PREFIX` for a data set of the Hub: its id as `path`, and what it may be cut to."""


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` of datasets wrote a folder."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def hub_table(source: str) -> Table:
    """The rows of `hub:OWNER/NAME[/CONFIG][:SPLIT][@REVISION]` or `hub:./FOLDER[:SPLIT]`.

    A folder that `save_to_disk` wrote is read by what its own files say: others that lie there, as
    the results of `map`, are no part of it.
    """
    name = source.removeprefix(PREFIX)
    match = _FOLDER.fullmatch(name) or REPOSITORY.fullmatch(name)
    if match is None:
        form = "hub:OWNER/NAME[/CONFIG][:SPLIT][@REVISION] or hub:./FOLDER[:SPLIT]"
        raise UnreadableError("", f"is not of the form {form}")
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra("datasets", "data") from error
    parts = match.groupdict()
    try:
        if is_saved(Path(parts["path"])):
            loaded = datasets.load_from_disk(parts["path"])
            if parts["split"] and isinstance(loaded, dict):
                loaded = loaded.get(parts["split"], loaded)
        else:
            loaded = datasets.load_dataset(
                parts["path"],
                parts.get("config"),
                split=parts["split"],
                revision=parts.get("revision"),
            )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UnreadableError("", f"cannot be loaded: {error}") from error
    if isinstance(loaded, dict):  # split by split
        if len(loaded) != 1 or parts["split"]:
            splits = f"it has {listing(loaded)}: name one, as in {PREFIX}{parts['path']}:SPLIT"
            named = f"has no split {parts['split']!r}" if parts["split"] else "names no split"
            raise UnreadableError("", f"{named}, and {splits}")
        (loaded,) = loaded.values()
    rows = [(f"row {number}", row) for number, row in enumerate(loaded, start=1)]
    return Table(names=list(loaded.column_names), rows=rows)
