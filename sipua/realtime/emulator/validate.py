"""Small schema checks that refuse the way the service does: a code, the parameter's path, what is allowed.

No I/O, no clock. A check is a function of ``(value, path)`` that returns the value or raises
:class:`RequestError`; the combinators below build a whole schema out of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any, str], Any]


class RequestError(Exception):
    """An ``error`` event to be: ``type``, ``code``, ``message``, ``param`` as on the wire."""

    def __init__(
        self, code: str | None, message: str, param: str | None = None, kind: str = "invalid_request_error"
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.kind = kind

    def body(self, event_id: str | None) -> dict[str, Any]:
        return {
            "type": self.kind,
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "event_id": event_id,
        }


def _kind(value: object) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a decimal", str: "a string", list: "an array"}
    return "null" if value is None else names.get(type(value), "an object")


def wrong_type(path: str, expected: str, value: object) -> RequestError:
    return RequestError(
        "invalid_type",
        f"Invalid type for '{path}': expected {expected}, but got {_kind(value)} instead.",
        path,
    )


def missing(path: str) -> RequestError:
    return RequestError("missing_required_parameter", f"Missing required parameter: '{path}'.", path)


def unknown(path: str) -> RequestError:
    return RequestError("unknown_parameter", f"Unknown parameter: '{path}'.", path)


def invalid(path: str, value: object, allowed: object) -> RequestError:
    return RequestError("invalid_value", f"Invalid value: {value!r}. Supported values are: {allowed}.", path)


def text(value: Any, path: str) -> Any:
    if not isinstance(value, str):
        raise wrong_type(path, "a string", value)
    return value


def boolean(value: Any, path: str) -> Any:
    if not isinstance(value, bool):
        raise wrong_type(path, "a boolean", value)
    return value


def anything(value: Any, path: str) -> Any:
    return value


def mapping(value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise wrong_type(path, "an object", value)
    return value


def integer(low: int, high: int) -> Check:
    def check(value: Any, path: str) -> Any:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(path, "an integer", value)
        return _within(value, low, high, path, "integer")

    return check


def decimal(low: float, high: float) -> Check:
    def check(value: Any, path: str) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong_type(path, "a decimal", value)
        return _within(value, low, high, path, "decimal")

    return check


def _within(value: Any, low: float, high: float, path: str, word: str) -> Any:
    for wrong, name, sign, bound in (
        (value < low, "below_min", ">=", low),
        (value > high, "above_max", "<=", high),
    ):
        if wrong:
            raise RequestError(
                f"{word}_{name}_value",
                f"Invalid '{path}': {word} {name.replace('_', ' ')} value. "
                f"Expected a value {sign} {bound}, but got {value} instead.",
                path,
            )
    return value


def one_of(*allowed: str) -> Check:
    def check(value: Any, path: str) -> Any:
        if not isinstance(value, str):
            raise wrong_type(path, "a string", value)
        if value not in allowed:
            raise invalid(path, value, ", ".join(f"'{a}'" for a in allowed))
        return value

    return check


def nullable(inner: Check) -> Check:
    return lambda value, path: None if value is None else inner(value, path)


def list_of(inner: Check) -> Check:
    def check(value: Any, path: str) -> Any:
        if not isinstance(value, list):
            raise wrong_type(path, "an array", value)
        return [inner(each, f"{path}[{i}]") for i, each in enumerate(value)]

    return check


def record(fields: Mapping[str, Check], required: tuple[str, ...] = ()) -> Check:
    def check(value: Any, path: str) -> Any:
        mapping(value, path)
        for key in value:
            if key not in fields:
                raise unknown(f"{path}.{key}" if path else key)
        for key in required:
            if key not in value:
                raise missing(f"{path}.{key}" if path else key)
        return {key: fields[key](each, f"{path}.{key}" if path else key) for key, each in value.items()}

    return check


def by_type(kinds: Mapping[str, Check]) -> Check:
    """A record whose ``type`` says which of several it is."""

    def check(value: Any, path: str) -> Any:
        mapping(value, path)
        if "type" not in value:
            raise missing(f"{path}.type")
        return kinds[one_of(*kinds)(value["type"], f"{path}.type")](value, path)

    return check
