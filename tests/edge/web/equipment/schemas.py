"""As much of JSON Schema as docs/openapi.json uses, to hold real answers against it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OPENAPI = Path(__file__).resolve().parents[4] / "docs" / "openapi.json"
DOCUMENT: Any = json.loads(OPENAPI.read_text())
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}
_KNOWN = {
    "type", "properties", "required", "items", "enum", "const", "anyOf", "$ref", "minimum",
    "maximum", "additionalProperties", "description", "default",
}  # fmt: skip


def resolved(part: Any) -> Any:
    """What a ``$ref`` points to, or the part itself."""
    if "$ref" not in part:
        return part
    found = DOCUMENT
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


def faults(value: Any, schema: Any, at: str = "") -> Iterator[str]:
    """Where a value is not as the schema says; keys that it does not name are faults, too."""
    schema = resolved(schema)
    assert schema.keys() <= _KNOWN, schema.keys() - _KNOWN
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        yield f"{at}: {value!r} is no {' or '.join(kinds)}"
        return
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        yield f"{at}: {value!r} is not among those that may be"
    if "anyOf" in schema and all(any(True for _ in faults(value, s)) for s in schema["anyOf"]):
        yield f"{at}: {value!r} is none of what it may be"
    low, high = schema.get("minimum", value), schema.get("maximum", value)
    if isinstance(value, int | float) and not low <= value <= high:
        yield f"{at}: {value!r} is out of range"
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from faults(item, schema.get("items", {}), f"{at}[{index}]")
    if isinstance(value, dict) and "object" in kinds:
        properties = schema.get("properties", {})
        rest = schema.get("additionalProperties")
        for name in schema.get("required", []):
            if name not in value:
                yield f"{at}.{name} is missing"
        for name, item in value.items():
            if name in properties or rest:
                yield from faults(item, properties.get(name, rest), f"{at}.{name}")
            else:
                yield f"{at}.{name} is not described"


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and (kind == "boolean") >= isinstance(value, bool)


def answer_of(method: str, path: str, status: int) -> Any:
    """The schema of one JSON answer."""
    answer = resolved(DOCUMENT["paths"][path][method]["responses"][str(status)])
    (content,) = answer["content"].values()
    return content["schema"]
