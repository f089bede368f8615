"""A recipe as TOML, which the standard library reads but does not write."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any


def write_toml(recipe: Mapping[str, Any]) -> str:
    """Settings and tables of settings, as `tomllib` reads them back; what is None is left out."""
    tables = {name: value for name, value in recipe.items() if isinstance(value, Mapping)}
    blocks = [[*_entries({name: recipe[name] for name in recipe if name not in tables})]]
    blocks += [[f"[{name}]", *entries] for name in tables if (entries := [*_entries(tables[name])])]
    return "\n\n".join("\n".join(lines) for lines in blocks) + "\n"


def _entries(table: Mapping[str, Any]) -> Iterator[str]:
    for name, value in table.items():
        if value is not None:
            key = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)
            yield f"{key} = {_text(value)}"


def _text(value: Any) -> str:
    # What JSON writes for text, finite numbers, bools and lists of them, TOML reads, but for this.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
