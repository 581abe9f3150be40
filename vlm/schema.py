"""A person's JSON Schema -> the one an answer is held to, or an error that says what is wrong with it.

A field that is not on the image must come back as null: a model that has to fill it in makes it up. So
``prepared`` lets every property be null, requires all of them and admits no others, and nothing that the
grammar enforces depends on what the person remembered to write. What it changes, it changes in place, so
that a ``$ref`` into the schema still finds its target.

Schemas come from strangers and the compiler behind them has no clock, so size, depth and references are
judged here first, where each is one line of message.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from vlm.errors import UsageError

Missing = Literal["null", "as written"]

MAX_DEPTH = 64  # objects and lists within one another
MAX_ENUM = 10_000  # listed values in the whole schema
MAX_TEXT = 1 << 20  # characters of JSON
MAX_TARGETS = 500  # places that references name: the compiler follows them by recursion
# Of multipleOf, as decimals: 0.3 is a multiple of 0.1 here; validators that divide doubles say it is none.
MAX_STEP = 10_000  # of multipleOf, in units of its last digit: the automaton has as many states
MAX_REPEATS = 50_000  # characters a pattern's counted repeats stand for
LARGEST = 1e15  # numbers stay below: whole ones are exact in a double, and a row of digits ends

# Formats that the compiler can enforce, each with an example; any other is an annotation (JSON Schema
# 2020-12 validation, 7.2.1).
_FORMATS = {
    "date-time": "2001-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "date": "2001-01-01",
    "duration": "P1D",
    "email": "a@a.aa",
    "hostname": "a.aa",
    "ipv4": "1.1.1.1",
    "ipv6": "::1",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "uri": "a://a",
}
_NAMED = ("properties", "patternProperties", "$defs", "definitions")  # name -> schema
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems", "items")  # list of schemas
_SINGLE = ("items", "additionalItems", "additionalProperties")  # one schema
_COMBINING = ("anyOf", "oneOf", "allOf", "$ref")
_SCALARS = frozenset(("string", "number", "integer", "boolean"))
_OWN_TYPE = {"properties": "object", "items": "array", "prefixItems": "array"}

Schema = dict[str, Any]


def read_schema(source: Mapping[str, Any] | type | str) -> Schema:
    """A schema of its own from a mapping, a pydantic model class or JSON text, within the limits.

    Raises:
        UsageError: not JSON, no JSON Schema, too large, too deep, or with a reference that leads nowhere.
    """
    if isinstance(source, type):
        describe = getattr(source, "model_json_schema", None)
        if describe is None:
            raise UsageError(
                f"{source.__name__} is no pydantic model: give a BaseModel class, a dict or JSON"
            )
        source = describe()
    if not isinstance(source, str):
        try:
            source = json.dumps(source, allow_nan=False)
        except RecursionError:
            raise _too_deep() from None
        except (TypeError, ValueError) as error:
            raise UsageError(f"the schema is no JSON ({error})") from None
    if len(source) > MAX_TEXT:
        raise UsageError(f"the schema is {len(source)} characters long; at most {MAX_TEXT} are read")
    try:
        schema = json.loads(source, parse_constant=_not_json)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise UsageError(f"the schema is no JSON ({error})") from None
    if not isinstance(schema, dict):
        raise UsageError('the schema must be a JSON object, as in {"type": "object", "properties": ...}')
    _check_size(schema)
    for part in _parts(schema):
        _check_part(schema, part)
    named = {part["$ref"] for part in _parts(schema) if "$ref" in part}
    if len(named) > MAX_TARGETS:
        raise UsageError(f"the schema refers to {len(named)} places; at most {MAX_TARGETS} can be followed")
    return schema


def prepared(schema: Schema, missing: Missing = "null") -> Schema:
    """The schema an answer is held to; it admits nothing but null that ``schema`` does not.

    With either value of ``missing``: numbers without a limit get one of ±10^15, formats nobody enforces
    are dropped, and a schema with ``properties`` or ``items`` but no type is of the type these speak of.

    With ``missing="null"`` besides:

    - every property may be null. So may a whole answer that is one value. Lists that may be empty stay
      lists, because none found is ``[]``; a ``const`` stays what it is, because it is not read;
    - every property is required, so that an answer has the same keys each time;
    - an object has no other properties, unless it says ``additionalProperties`` itself, declares none, or
      is combined with another schema (``allOf``, or keywords beside ``$ref``, ``anyOf``, ``oneOf``).
    """
    schema = json.loads(json.dumps(schema))
    for part in _parts(schema):
        _tighten(part)
    if missing == "as written":
        return schema
    open_ones = {id(part) for part in _combined(schema)}
    for part in list(_parts(schema)):
        if isinstance(part.get("properties"), dict):
            _require_all(schema, part, closed=id(part) not in open_ones)
    return _or_null(schema, schema) if _is_value(schema) else schema


def patterns_of(schema: Schema) -> list[str]:
    """What strings in a schema look like: its regular expressions, and examples of its formats."""
    found = [part.get("pattern") for part in _parts(schema)]
    found += [_FORMATS.get(str(part.get("format"))) for part in _parts(schema)]
    return [pattern for pattern in found if isinstance(pattern, str)]


def pattern_cost(pattern: str) -> int:
    """Characters a regular expression's counted repeats stand for, about: ``(ab{3}){10}`` is 40.

    What it does not count (``*``, ``+``, alternatives) costs the compiler nothing.
    """
    sizes = [0]  # one an open group
    last = 0  # size of what a repeat would apply to
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "{" and (end := pattern.find("}", at)) > 0:
            counts = [int(n[:9]) for n in pattern[at + 1 : end].split(",") if n.isascii() and n.isdigit()]
            sizes[-1] += last * (max(counts, default=1) - 1)
            last, at = last * max(counts, default=1), end + 1
            continue
        if char == "(":
            sizes.append(0)
        elif char == ")" and len(sizes) > 1:
            last = sizes.pop()
            sizes[-1] += last
        elif char == "[":
            at = _class_end(pattern, at)
            sizes[-1], last = sizes[-1] + 1, 1
        elif char not in "*+?|":
            at += char == "\\"
            sizes[-1], last = sizes[-1] + 1, 1
        at += 1
    return sum(sizes)


def _class_end(pattern: str, at: int) -> int:
    """Where the character class ends that begins at ``at``."""
    at += 1 + pattern.startswith("^", at + 1)
    first = at
    while at < len(pattern) and (pattern[at] != "]" or at == first):
        at += 1 + (pattern[at] == "\\")
    return at


def _not_json(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _too_deep() -> UsageError:
    return UsageError(f"the schema is nested too deep: {MAX_DEPTH} levels at most")


def _check_size(schema: Schema) -> None:
    """Depth and listed values; without recursion, which is what a deep schema would break."""
    rest: list[tuple[Any, int]] = [(schema, 1)]
    listed = 0
    while rest:
        value, depth = rest.pop()
        if depth > MAX_DEPTH:
            raise _too_deep()
        if isinstance(value, dict):
            listed += len(_list(value, "enum"))
            rest += [(inner, depth + 1) for inner in value.values() if isinstance(inner, dict | list)]
        else:
            rest += [(inner, depth + 1) for inner in value if isinstance(inner, dict | list)]
    if listed > MAX_ENUM:
        raise UsageError(f"the schema lists {listed} values in enum; at most {MAX_ENUM} can be told apart")


def _check_part(schema: Schema, part: Schema) -> None:
    """What the compiler would take long over or get wrong."""
    reference = part.get("$ref", "#")
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        raise UsageError(f"$ref {reference!r}: only places within the schema itself (#/...) can be followed")
    if _target(schema, reference) is None:
        raise UsageError(f"$ref {reference!r}: the schema has no such place")
    step = part.get("multipleOf")
    if isinstance(step, int | float) and step > 0 and _units(step) > MAX_STEP:
        raise UsageError(f"multipleOf {step} is too fine to enforce; leave it out or use a rounder number")
    if isinstance(pattern := part.get("pattern"), str):
        check_pattern(pattern)
    least = part.get("minProperties")
    named = part.get("properties")
    known = {*map(str, _list(part, "required")), *(named if isinstance(named, dict) else ())}
    # One more can be any; two more might be the same one twice.
    if isinstance(least, int) and least > len(known) + 1:
        raise UsageError(f"minProperties {least} can't be enforced: list the properties under required")


def check_pattern(pattern: str) -> None:
    """Refuse a regular expression that would be compiled for minutes.

    Raises:
        UsageError: its counted repeats, multiplied out, are too long.
    """
    if len(pattern) > MAX_REPEATS or pattern_cost(pattern) > MAX_REPEATS:
        raise UsageError(f"the pattern's repeats multiply to more than {MAX_REPEATS} characters: use fewer")


def _units(step: float) -> float:
    """0.25 -> 25, 30 -> 30, 1e-9 -> 1: ``multipleOf`` without its decimal point."""
    if not math.isfinite(step):
        return math.inf
    digits = f"{step:.12f}".rstrip("0") if isinstance(step, float) else str(step)
    return float(digits.replace(".", ""))


def _parts(schema: Schema) -> Iterator[Schema]:
    """The schema and every schema within it, outer ones first; values of enum and the like are none."""
    yield schema
    for key, value in list(schema.items()):
        inner: list[Any] = []
        if key in _NAMED and isinstance(value, dict):
            inner = list(value.values())
        elif key in _LISTED and isinstance(value, list):
            inner = value
        elif key in _SINGLE:
            inner = [value]
        for part in inner:
            if isinstance(part, dict):
                yield from _parts(part)


def _target(schema: Schema, reference: str) -> Any:
    """What a reference within the schema points at (RFC 6901); None where there is nothing."""
    from urllib.parse import unquote

    found: Any = schema
    for step in unquote(reference[1:]).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict):
            found = found.get(name)
        elif isinstance(found, list) and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        else:
            return None
    return found


def _tighten(part: Schema) -> None:
    """Say what the writer meant, and end what would not end by itself."""
    if not any(key in part for key in ("type", "enum", "const", *_COMBINING)):
        meant = {kind for key, kind in _OWN_TYPE.items() if key in part}
        if len(meant) == 1:
            part["type"] = meant.pop()
    if str(part.get("format")) not in _FORMATS:
        part.pop("format", None)
    if not {"number", "integer"} & set(_types(part)) or "enum" in part or "const" in part:
        return
    lower = _limit(part, "minimum", "exclusiveMinimum")
    upper = _limit(part, "maximum", "exclusiveMaximum")
    if lower is None and (upper is None or upper > -LARGEST):
        part["minimum"] = -int(LARGEST) + 1
    if upper is None and (lower is None or lower < LARGEST):
        part["maximum"] = int(LARGEST) - 1


def _list(part: Schema, key: str) -> list[Any]:
    """What stands under a key that holds a list, in a schema nobody has checked yet."""
    value = part.get(key)
    return value if isinstance(value, list) else []


def _types(part: Schema) -> list[str]:
    """Types a schema names; none if it names none."""
    named = part.get("type", [])
    return [str(kind) for kind in named] if isinstance(named, list) else [str(named)]


def _limit(part: Schema, *keys: str) -> float | None:
    given = (part.get(key) for key in keys)
    return next((v for v in given if isinstance(v, int | float) and not isinstance(v, bool)), None)


def _combined(schema: Schema) -> list[Schema]:
    """Schemas whose objects another schema adds properties to: shut, they would shut these out."""
    rest: list[Any] = []
    for part in _parts(schema):
        beside = sum(key in part for key in (*_COMBINING, "properties"))
        if beside > 1 or len(_list(part, "allOf")) > 1:
            rest += [part, *_list(part, "anyOf"), *_list(part, "oneOf"), *_list(part, "allOf")]
            rest += [_target(schema, part["$ref"])] if "$ref" in part else []
    found: dict[int, Schema] = {}
    while rest:
        part = rest.pop()
        if not isinstance(part, dict) or id(part) in found:
            continue
        found[id(part)] = part
        rest += [*_list(part, "anyOf"), *_list(part, "oneOf"), *_list(part, "allOf")]
        rest += [_target(schema, part["$ref"])] if "$ref" in part else []
    return list(found.values())


def _require_all(schema: Schema, part: Schema, *, closed: bool) -> None:
    """Every property there, each or null; none but these if ``closed``."""
    properties = part["properties"]
    part["properties"] = {name: _or_null(schema, value) for name, value in properties.items()}
    possible = [name for name, value in properties.items() if value is not False]
    part["required"] = list(dict.fromkeys((*possible, *_list(part, "required"))))
    if closed and all(name in properties for name in part["required"]):
        part.setdefault("additionalProperties", False)


def _or_null(schema: Schema, value: Any) -> Any:
    """The schema of a value that may be missing."""
    if not isinstance(value, dict) or "const" in value or len(_list(value, "enum")) == 1:
        return value
    if _takes_null(schema, value, {}) or _may_be_empty_list(schema, value):
        return value
    if "enum" in value:
        value["enum"] = [*_list(value, "enum"), None]
    if not any(key in value for key in _COMBINING):
        if "type" in value:
            value["type"] = [*_types(value), "null"]
        return value
    branches = [key for key in ("anyOf", "oneOf") if key in value]
    if len(branches) == 1 and not any(
        key in value for key in ("type", "enum", "allOf", "$ref", "properties")
    ):
        value[branches[0]] = [*_list(value, branches[0]), {"type": "null"}]
        return value
    return {"anyOf": [value, {"type": "null"}]}


def _takes_null(schema: Schema, value: Any, known: dict[int, bool]) -> bool:
    if not isinstance(value, dict):
        return value is True
    if id(value) in known:
        return known[id(value)]
    known[id(value)] = False  # what only refers to itself takes nothing
    branches = [_list(value, key) for key in ("anyOf", "oneOf") if key in value]
    takes = (
        ("type" not in value or "null" in _types(value))
        and ("enum" not in value or None in _list(value, "enum"))
        and ("const" not in value or value["const"] is None)
        and all(any(_takes_null(schema, branch, known) for branch in listed) for listed in branches)
        and all(_takes_null(schema, branch, known) for branch in _list(value, "allOf"))
        and ("$ref" not in value or _takes_null(schema, _target(schema, value["$ref"]), known))
    )
    known[id(value)] = takes
    return takes


def _may_be_empty_list(schema: Schema, value: Any) -> bool:
    for _ in range(MAX_DEPTH):  # references may follow one another, and in a circle
        if not isinstance(value, dict) or "$ref" not in value:
            break
        value = _target(schema, value["$ref"])
    return isinstance(value, dict) and value.get("type") == "array" and not value.get("minItems")


def _is_value(schema: Schema) -> bool:
    """Whether an answer is one value and no object or list of them."""
    types = _types(schema)
    return all(kind in _SCALARS for kind in types) if types else "enum" in schema
