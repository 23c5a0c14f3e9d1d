"""Where everything in a YAML or JSON file stands: line and column of every value, by its path.

JSON is a dialect of YAML, whose reader keeps the places; but for tabs.
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


class _Loader(yaml.SafeLoader):
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
    value = yaml.load(text.replace("\t", " "), Loader=_Loader)  # noqa: S506  a safe one
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError) as exc:
        raise yaml.YAMLError(f"it holds itself, or a number that JSON has not: {exc}") from None
    return value


def of(text: str) -> Mapping[Where, Place]:
    """Return the place of every key and item, and of what stands twice by "twice" and its path.

    Raises:
        yaml.YAMLError: It is neither YAML nor JSON.
    """
    found: dict[Where, Place] = {}
    top = yaml.compose(text.replace("\t", " "), Loader=yaml.SafeLoader)
    if top is not None:
        _walk(top, (), found)
    return found


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
