"""The routes for people, made from their OpenAPI: a page without scripts from elsewhere.

This module knows nothing about any one route.
"""

from collections.abc import Mapping
from html import escape
from typing import Any

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; width: min(48rem, 92%); margin: 2rem auto }}
h2 {{ font-size: 1.1rem; margin: 2rem 0 0 }}
table {{ border-collapse: collapse }}
td {{ padding: 0 1rem .25rem 0; vertical-align: top }}
:root {{ color-scheme: light dark }}
</style>
<h1>{title}</h1>
<p>{about} For programs: <a href="openapi.json">openapi.json</a>.</p>
{routes}
</html>
"""


def listing(openapi: Mapping[str, Any]) -> str:
    """A page with every route, its fields and its statuses."""
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
    content = operation.get("requestBody", {}).get("content", {})
    body = content.get("application/json", {}).get("schema", {})
    parts = [f"<h2><code>{escape(name)}</code></h2>", f"<p>{escape(operation['description'])}</p>"]
    for reference in (body.get("oneOf") or [body]) if body else []:
        model = reference["$ref"].rpartition("/")[2]
        schema = openapi["components"]["schemas"][model]
        parts += [f"<p>{escape(schema['description'])}</p>", _table(_fields(schema))]
    statuses = {status: entry["description"] for status, entry in operation["responses"].items()}
    return "\n".join([*parts, _table(statuses)])


def _fields(schema: Mapping[str, Any]) -> dict[str, str]:
    required = schema.get("required", [])
    return {
        name: ("required. " if name in required else "") + field.get("description", "")
        for name, field in schema["properties"].items()
    }


def _table(rows: Mapping[str, str]) -> str:
    cells = [f"<tr><td><code>{escape(key)}</code><td>{escape(text)}" for key, text in rows.items()]
    return f"<table>{''.join(cells)}</table>"
