"""Where everything in a YAML or JSON file stands: line and column of every value, by its path.

JSON is a dialect of YAML, whose reader keeps the places; but for tabs.
"""

from collections.abc import Mapping

import yaml

#: The keys and indexes that lead to a value.
Where = tuple[str | int, ...]
#: Line and column, from 1.
Place = tuple[int, int]
TWICE = "twice"


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
