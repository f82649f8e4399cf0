"""Writes `service/ipc.schema.json`, and the reference at the end of `service/IPC.md`.

    python -m materializer.ipc.document

Both are made from `contract`, `answers` and `values`; a test fails when they are stale.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from materializer.ipc.answers import ANSWERS, EVENTS, Answer
from materializer.ipc.contract import PARAMS, Params
from materializer.ipc.contract import schema as schema_of
from materializer.ipc.values import (
    DisplayPayload,
    DisplayUpdate,
    GalleryItem,
    Job,
    Status,
)

SERVICE = Path(__file__).resolve().parents[2] / "service"
MARK = "<!-- What follows is written by: python -m materializer.ipc.document -->\n"

_NAMED = (GalleryItem, Job, DisplayPayload, Status)
"""The values that have a section of their own; others stand where they are used."""
_REF = "#/$defs/"
_ID: dict[str, Any] = {"type": ["string", "number", "null"]}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of every line, either way.

    `$defs` holds the values, and `<method>.request`, `<method>.result` and
    `<name>.notification`. Members that it does not name may come, and mean nothing yet.
    """
    asked = {model.__name__: schema_of(model) for model in PARAMS.values()}
    results = (answer.result for answer in ANSWERS.values())
    models: list[type[BaseModel]] = [*results, *EVENTS, DisplayUpdate]
    told = {model.__name__: model.__pydantic_core_schema__ for model in models}
    _, found = _Generator().generate_definitions(
        [(name, "validation", made) for name, made in sorted((asked | told).items())]
    )
    defs: dict[str, Any] = {str(name): made for name, made in found.items()}
    lines = {
        f"{name}.request": _request(name, model, defs[model.__name__])
        for name, model in PARAMS.items()
    }
    events = {"oneOf": [_ref(event) for event in EVENTS]}
    lines |= {
        "display.update.notification": _sent("display.update", _ref(DisplayUpdate)),
        "event.notification": _sent("event", events),
        "response": _object(jsonrpc={"const": "2.0"}, id=_ID, result={}),
        "refusal": _object(
            jsonrpc={"const": "2.0"},
            id=_ID,
            error=_object(code={"type": "integer"}, message={"type": "string"}),
        ),
    }
    answers = {f"{name}.result": _ref(said.result) for name, said in ANSWERS.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line on the local socket of stella-materializer, protocol 1",
        "oneOf": [{"$ref": _REF + name} for name in lines],
        "$defs": lines | answers | defs,
    }


def reference() -> str:
    """Return the methods, notifications and values, in Markdown."""
    defs = schema()["$defs"]
    parts = ["## Methods"]
    for number, (name, answer) in enumerate(ANSWERS.items(), 1):
        parts += _method(number, name, answer, defs)
    parts += ["## Notifications", "### `display.update`"]
    parts += [_table(defs["DisplayUpdate"], defs), "### `event`", _events(defs)]
    for model in _NAMED:
        made = defs[model.__name__]
        parts += [f"## `{model.__name__}`", _meaning(made), _table(made, defs)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write both."""
    page = SERVICE / "IPC.md"
    prose, mark, _ = page.read_text("utf-8").partition(MARK)
    page.write_text(f"{prose}{mark}\n{reference()}", "utf-8")
    text = json.dumps(schema(), indent=2, ensure_ascii=False)
    (SERVICE / "ipc.schema.json").write_text(f"{text}\n", "utf-8")


class _Generator(GenerateJsonSchema):
    """Takes a default of None for: may be left out. No title repeats a name."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        inner = schema["schema"]
        if inner["type"] == "nullable" and schema.get("default", ...) is None:
            return self.generate_inner(inner["schema"])
        return super().default_schema(schema)

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _ref(model: type[BaseModel | Params]) -> dict[str, Any]:
    return {"$ref": _REF + model.__name__}


def _object(**members: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": members, "required": list(members)}


def _sent(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return _object(jsonrpc={"const": "2.0"}, method={"const": method}, params=params)


def _request(method: str, params: type[Params], made: dict[str, Any]) -> dict[str, Any]:
    """Return a request's schema; `jsonrpc` may be left out, and `id` for no answer."""
    line = _object(method={"const": method}, params=_ref(params))
    if "required" not in made:
        line["required"].remove("params")
    line["properties"] |= {"jsonrpc": {"const": "2.0"}, "id": _ID}
    return line


def _method(
    number: int, name: str, answer: Answer, defs: dict[str, Any]
) -> Iterator[str]:
    line: dict[str, Any] = {"id": number, "method": name}
    if answer.example:
        line["params"] = answer.example
    yield f"### `{name}`"
    yield answer.does
    yield f"```json\n{json.dumps(line, separators=(',', ':'))}\n```"
    params, result = _ref(PARAMS[name]), _ref(answer.result)
    rows = [
        f"- params: `{_words(params, defs)}`",
        f"- result: `{_words(result, defs)}`",
    ]
    if answer.result not in _NAMED:
        members = defs[answer.result.__name__].get("properties", {})
        rows += [
            f"  - `{name}`: {_meaning(member)}"
            for name, member in members.items()
            if "description" in member
        ]
    rows += [f"- error {code}: {when}" for code, when in answer.errors.items()]
    yield "\n".join(rows)


def _events(defs: dict[str, Any]) -> str:
    rows = ["| `topic` | `type` | `data` | |", "|---|---|---|---|"]
    for event in EVENTS:
        members = defs[event.__name__]["properties"]
        cells = [f"`{_words(members[key], defs)}`" for key in ("topic", "type", "data")]
        rows.append(_row(*cells, _meaning(defs[event.__name__])))
    return "\n".join(rows)


def _table(made: dict[str, Any], defs: dict[str, Any]) -> str:
    rows = ["| member | type | |", "|---|---|---|"]
    for name, member in made["properties"].items():
        shown = name if name in made["required"] else f"{name}?"
        rows.append(_row(f"`{shown}`", f"`{_words(member, defs)}`", _meaning(member)))
    return "\n".join(rows)


def _meaning(made: dict[str, Any]) -> str:
    return " ".join(made.get("description", "").split())


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _words(node: dict[str, Any], defs: dict[str, Any]) -> str:
    """Write a type as TypeScript would, with its default."""
    if "$ref" in node:
        name = node["$ref"].removeprefix(_REF)
        named = name in {model.__name__ for model in _NAMED}
        return name if named else _words(defs[name], defs)
    choices = node.get("oneOf") or node.get("anyOf")
    if choices:
        return " | ".join(_words(choice, defs) for choice in choices)
    literals = node.get("enum") or ([node["const"]] if "const" in node else [])
    if literals:
        return " | ".join(map(json.dumps, literals))
    if node["type"] == "array":
        items = _words(node["items"], defs)
        return f"({items})[]" if " | " in items else f"{items}[]"
    if node["type"] == "object":
        return _members(node, defs)
    limits = f" {node['minimum']}..{node['maximum']}" if "maximum" in node else ""
    default = f" = {json.dumps(node['default'])}" if "default" in node else ""
    return f"{node['type']}{limits}{default}"


def _members(node: dict[str, Any], defs: dict[str, Any]) -> str:
    required = node.get("required", [])
    members = (
        f"{name}{'' if name in required else '?'}: {_words(member, defs)}"
        for name, member in node.get("properties", {}).items()
    )
    return "{" + ", ".join(members) + "}"


if __name__ == "__main__":
    main()
