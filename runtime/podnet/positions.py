"""Where everything in a YAML or JSON file stands: line and column of every value, by its path.

JSON is a dialect of YAML, whose reader keeps the places; but for tabs.  What somebody else wrote may
be nested without end, or say by aliases more than any memory holds: it is measured before it is built.
"""

import json
from collections.abc import Mapping
from typing import NoReturn

import yaml

#: The keys and indexes that lead to a value.
Where = tuple[str | int, ...]
#: Line and column, from 1.
Place = tuple[int, int]
TWICE = "twice"
_DEEPEST = 100
_TOO_DEEP = f"it is nested deeper than {_DEEPEST}"
#: How many values there may be that are not written, but there by an alias.
_MOST_REPEATED = 100_000


class _Bounded(yaml.SafeLoader):
    """YAML that is not nested without end."""

    def __init__(self, text: str) -> None:
        super().__init__(text.replace("\t", " "))
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Read a value as far as its node.

        Raises:
            yaml.YAMLError: It is nested too deep.
        """
        self._depth += 1
        if self._depth > _DEEPEST:
            raise yaml.YAMLError(_TOO_DEEP)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Loader(_Bounded):
    """YAML that says what JSON can: keys are texts, and there are no dates, bytes or sets."""

    # Everything that a plain word may mean, but for a date.
    yaml_implicit_resolvers = {  # noqa: RUF012  PyYAML's own way
        first: [(tag, pattern) for tag, pattern in known if not tag.endswith(":timestamp")]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002  PyYAML's signature
    ) -> dict[object, object]:
        """Make a mapping.

        Raises:
            yaml.YAMLError: A key is no text.
        """
        for key, _ in node.value:
            if key.tag not in {"tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"}:
                problem = f"the key {getattr(key, 'value', '')} is no text: put it in quotes"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        made: dict[object, object] = super().construct_mapping(node, deep)
        return made

    def refuse(self, node: yaml.Node) -> NoReturn:
        """Refuse a value that JSON has not.

        Raises:
            yaml.YAMLError: Always.
        """
        kind = node.tag.rpartition(":")[2]
        problem = f"JSON has no value of the kind {kind}"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


for _kind in ("binary", "timestamp", "set", "omap", "pairs"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.refuse)


def load(text: str) -> object:
    """Return the value of a YAML or JSON document, in which there is only what JSON has.

    Raises:
        yaml.YAMLError: It is neither, or says more.
    """
    loader = _Loader(text)
    try:
        top = _composed(loader)
        value: object = None if top is None else loader.construct_document(top)
        json.dumps(value, allow_nan=False)
    except ValueError as exc:  # of thousands of digits, or not finite
        raise yaml.YAMLError(f"it holds a number that JSON has not: {exc}") from None
    finally:
        loader.dispose()
    return value


def of(text: str) -> Mapping[Where, Place]:
    """Return the place of every key and item, and of what stands twice by "twice" and its path.

    Raises:
        yaml.YAMLError: It is neither YAML nor JSON.
    """
    found: dict[Where, Place] = {}
    loader = _Bounded(text)
    try:
        top = _composed(loader)
    finally:
        loader.dispose()
    if top is not None:
        _walk(top, (), found)
    return found


def _composed(loader: _Bounded) -> yaml.Node | None:
    """Read a document as far as its nodes, of a size that the rest can bear.

    Raises:
        yaml.YAMLError: It is no YAML, nested too deep, or holds itself.
    """
    top: yaml.Node | None = loader.get_single_node()
    if top is not None:
        sizes: dict[yaml.Node, tuple[int, int] | None] = {}
        size, depth = _measure(top, sizes)
        if depth > _DEEPEST:
            raise yaml.YAMLError(_TOO_DEEP)
        if size - len(sizes) > _MOST_REPEATED:
            raise yaml.YAMLError(f"its aliases say more than {_MOST_REPEATED} values again")
    return top


def _measure(node: yaml.Node, sizes: dict[yaml.Node, tuple[int, int] | None]) -> tuple[int, int]:
    """Return how many values a node is, aliases followed, and how deep; each node is visited once."""
    if node in sizes:
        known = sizes[node]
        if known is None:  # we are inside of it
            raise yaml.constructor.ConstructorError(None, None, "it holds itself", node.start_mark)
        return known
    sizes[node] = None
    inner = [_measure(child, sizes) for child in _children(node)]
    found = 1 + sum(size for size, _ in inner), 1 + max((depth for _, depth in inner), default=0)
    sizes[node] = found
    return found


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _walk(node: yaml.Node, where: Where, found: dict[Where, Place]) -> None:
    found.setdefault(where, _place(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*where, str(key.value))
            if inner in found:
                found[(TWICE, *inner)] = _place(key)
            found[inner] = _place(key)
            _walk(value, inner, found)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*where, index), found)


def _place(node: yaml.Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1
