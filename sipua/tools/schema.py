"""Arguments of tools: the JSON schema that a speech model is given, and what it is told when they do not fit.

A model reads a schema, and pays for it, in every response: titles go, and an optional value is told by not being
required instead of by a union with null.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.validators import extend
from pydantic import BaseModel
from pydantic import ValidationError as TypedError

from sipua.errors import ConfigError, LocalError

FAULTS_MAX = 3  # of an argument list that are told
FAULT_MAX_CHARS = 160

Arguments = Mapping[str, Any]

# What evaluates regular expressions: with a stranger's, "(a+)+$", 27 characters held the event loop for 5 s.
_EXPRESSIONS = ("pattern", "patternProperties", "additionalProperties", "unevaluatedProperties")
_STRANGERS = extend(Draft202012Validator, dict.fromkeys(_EXPRESSIONS, lambda *_: ()))  # type: ignore[no-untyped-call]


class ToolError(LocalError):
    """A tool cannot do what was asked; its text is for the model: short, and what to do instead."""

    reason = "tool"


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a pydantic model, as a speech model needs it."""
    schema = _plain(model.model_json_schema())
    assert isinstance(schema, dict)
    schema.pop("description", None)  # the docstring of the model: the tool has a description of its own
    return {"type": "object", "properties": {}} | schema


def _plain(node: Any) -> Any:
    if isinstance(node, list):
        return [_plain(each) for each in node]
    if not isinstance(node, dict):
        return node
    found = {
        key: {name: _plain(each) for name, each in value.items()} if key == "properties" else _plain(value)
        for key, value in node.items()
        if key != "title" and not (key == "default" and value is None)
    }
    choices = [each for each in found.get("anyOf", ()) if each != {"type": "null"}]
    if "anyOf" in found and len(choices) == 1:
        del found["anyOf"]
        found = choices[0] | found
    return found


def typed_arguments(model: type[BaseModel], given: Arguments) -> BaseModel:
    """Raises ToolError naming the arguments that do not fit."""
    try:
        return model.model_validate(given)
    except TypedError as error:
        faults = [(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors()]
        raise _unfit(faults) from None


def checked_schema(schema: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A schema of somebody else's. ConfigError if it is none, or not of an object."""
    if schema.get("type", "object") != "object":
        raise ConfigError(f"{where}: type = {schema['type']!r}: arguments are an object")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = ".".join(map(str, error.absolute_path))
        raise ConfigError(
            f"{where}: not a JSON schema: {place or 'the whole'}: {error.message[:FAULT_MAX_CHARS]}"
        ) from None
    for reference in _references(schema):
        if not _is_within(schema, reference):
            raise ConfigError(f"{where}: $ref {reference[:FAULT_MAX_CHARS]!r}: nothing in this schema")
    return {"type": "object", "properties": {}} | dict(schema)


def _references(node: Any) -> Iterator[str]:
    """Those that are followed when arguments are checked; an address outside would be asked then."""
    if isinstance(node, list):
        for each in node:
            yield from _references(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            else:
                yield from _references(value)


def _is_within(schema: Any, reference: str) -> bool:
    """A JSON pointer (RFC 6901) to something in the schema."""
    if reference != "#" and not reference.startswith("#/"):
        return False
    for step in unquote(reference).split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(schema, dict) and key in schema:
            schema = schema[key]
        elif isinstance(schema, list) and key.isdecimal() and int(key[:9]) < len(schema):
            schema = schema[int(key)]
        else:
            return False
    return True


def schema_arguments(schema: Mapping[str, Any], given: Arguments, *, is_strangers: bool = False) -> Arguments:
    """Raises ToolError naming the arguments that do not fit. ``is_strangers``: not written by the operator."""
    validator = _STRANGERS if is_strangers else Draft202012Validator
    errors: list[ValidationError] = [*validator(schema).iter_errors(dict(given))]
    if errors:
        worst = best_match(errors)
        ordered = sorted(errors, key=lambda each: each is not worst)
        raise _unfit([(".".join(map(str, each.absolute_path)), each.message) for each in ordered])
    return given


def _unfit(faults: list[tuple[str, str]]) -> ToolError:
    told = [f"{place or 'arguments'}: {message[:FAULT_MAX_CHARS]}" for place, message in faults[:FAULTS_MAX]]
    return ToolError(f"the arguments do not fit: {'; '.join(told)}")
