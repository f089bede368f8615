"""The routes for people, made from their OpenAPI: a page without scripts from elsewhere.

This module knows nothing about any one route.
"""

import re
from collections.abc import Mapping
from html import escape
from typing import Any

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; width: min(48rem, 92%); margin: 2rem auto }}
h2 {{ font-size: 1.1rem; margin: 2rem 0 0 }}
h3 {{ font-size: 1rem; margin: 1rem 0 0 }}
table {{ border-collapse: collapse }}
td {{ padding: 0 1rem .25rem 0; vertical-align: top; overflow-wrap: anywhere }}
:root {{ color-scheme: light dark }}
</style>
<h1>{title}</h1>
<p>{about} For programs: <a href="openapi.json">openapi.json</a>.</p>
{routes}
</html>
"""

# An attribute and its text, in the docstring that describes a schema made from a dataclass.
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.)(.+(?:\n {8}.+)*)", re.MULTILINE)


def listing(openapi: Mapping[str, Any]) -> str:
    """A page with every route: what it takes, what it gives, its statuses."""
    routes = [
        _route(f"{method.upper()} {path}", operation, openapi)
        for path, operations in openapi["paths"].items()
        for method, operation in operations.items()
    ]
    info = openapi["info"]
    return _PAGE.format(
        title=escape(f"{info['title']} {info['version']}"),
        about=escape(info["description"]),
        routes="\n".join(routes),
    )


def _route(name: str, operation: Mapping[str, Any], openapi: Mapping[str, Any]) -> str:
    parts = [f"<h2><code>{escape(name)}</code></h2>", f"<p>{escape(operation['description'])}</p>"]
    content = operation.get("requestBody", {}).get("content", {})
    if content:
        schema = content["application/json"]["schema"]
        for branch in schema.get("oneOf", [schema]):
            parts += _object(_model(branch, openapi) or {}, openapi, is_asked=True)
    given = operation["responses"].get("200", {}).get("content", {}).get("application/json", {})
    if (model := _model(given.get("schema", {}), openapi)) is not None:
        parts += ["<h3>Answer</h3>", *_object(model, openapi, is_asked=False)]
    statuses = {status: entry["description"] for status, entry in operation["responses"].items()}
    return "\n".join([*parts, "<h3>Statuses</h3>", _table(statuses)])


def _object(model: Mapping[str, Any], openapi: Mapping[str, Any], *, is_asked: bool) -> list[str]:
    about = model["description"].partition("\n\nAttributes:")[0]
    return [f"<p>{escape(about)}</p>", _table(_fields(model, openapi, is_asked=is_asked))]


def _fields(
    model: Mapping[str, Any], openapi: Mapping[str, Any], *, is_asked: bool, prefix: str = ""
) -> dict[str, str]:
    """Name of each field, those of objects inside included, and what it means."""
    rows: dict[str, str] = {}
    told = {
        name: f"{first.upper()}{' '.join(rest.split())}"
        for name, first, rest in _ATTRIBUTE.findall(model["description"])
    }
    for name, field in model["properties"].items():
        inner = _model(field, openapi)
        about = field.get("description") or told.get(name, "")
        if about or inner is None:
            is_needed = is_asked and name in model.get("required", [])
            rows[prefix + name] = ("Required. " if is_needed else "") + about
        if inner is not None:
            rows |= _fields(inner, openapi, is_asked=is_asked, prefix=f"{prefix}{name}.")
    return rows


def _model(schema: Mapping[str, Any], openapi: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The model that a schema refers to, null aside."""
    for branch in (schema, *schema.get("anyOf", [])):
        if "$ref" in branch:
            model: Mapping[str, Any] = openapi["components"]["schemas"][
                branch["$ref"].split("/")[-1]
            ]
            return model
    return None


def _table(rows: Mapping[str, str]) -> str:
    cells = [f"<tr><td><code>{escape(key)}</code><td>{escape(text)}" for key, text in rows.items()]
    return f"<table>{''.join(cells)}</table>"
