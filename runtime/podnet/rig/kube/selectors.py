"""Label and field selectors, and whom they choose (pure)."""

import re
from http import HTTPStatus
from typing import Any

from podnet.rig.kube.objects import KubeError, Object

_TERM = re.compile(r"(?:[^,(]|\([^)]*\)?)+")
_AMONG = re.compile(r"(?P<key>[^\s!=(]+)\s+(?P<how>in|notin)\s*\((?P<values>[^)]*)\)")
_NO_KEY = re.compile(r"[\s()]")


def chosen(made: Object, *, labels: str = "", fields: str = "") -> bool:
    """Tell whether selectors choose an object: ``a=b,c!=d,e,f in (g,h)``, and ``spec.nodeName=n1``.

    Raises:
        KubeError: A selector does not read like one.
    """
    has = made.get("metadata", {}).get("labels") or {}
    return all(_fits(term, has.get(_key(term))) for term in _terms(labels)) and all(
        _fits(term, _field(made, _key(term))) for term in _terms(fields)
    )


def _terms(selector: str) -> list[str]:
    """Split a selector at the commas that are in no parentheses."""
    terms = [term.strip() for term in _TERM.findall(selector)]
    return [term for term in terms if term]


def _key(term: str) -> str:
    among = _AMONG.fullmatch(term)
    if among:
        return among["key"]
    key = term.replace("!=", "=").partition("=")[0].strip("! ")
    if _NO_KEY.search(key):
        message = f"unable to parse requirement: {term}"
        raise KubeError(HTTPStatus.BAD_REQUEST, "BadRequest", message)
    return key


def _fits(term: str, value: object) -> bool:
    among = _AMONG.fullmatch(term)
    if among:
        named = value in [one.strip() for one in among["values"].split(",")]
        return named == (among["how"] == "in")
    key, differs, unwanted = term.partition("!=")
    if differs:
        return value != unwanted
    key, equals, wanted = term.replace("==", "=").partition("=")
    if not equals:
        return (value is None) == key.startswith("!")
    return value == wanted or (not wanted and value is None)


def _field(made: Object, path: str) -> object:
    value: Any = made
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
