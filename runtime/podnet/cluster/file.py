"""A cluster described by a YAML file: its Nodes, its pods, and what happens to it.

Reads, and says of every mistake where it stands; makes nothing.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from podnet import positions, shapes
from podnet.cluster import record, schema
from podnet.cluster.record import Cluster, Member, Store
from podnet.cluster.scenario import Scenario
from podnet.cluster.steps import WORDS, Step
from podnet.cluster.workload import PodOn
from podnet.cni import wire
from podnet.cni.config import Network
from podnet.cni.errors import CniError
from podnet.cni.wire import Fields
from podnet.errors import PodnetError, UsageError
from podnet.positions import Place, Where
from podnet.records import check_pod_name
from podnet.shapes import Problem, Shape

_COUNT = 3
_SHAPE = Shape.of(Fields(schema.of_file()))
#: What may be said in a word, or at length: the word's type, both in words, the long one's shape.
_EITHER: Mapping[str, tuple[type, str, Shape]] = {
    "nodes": (int, "a number or a list", Shape.of(Fields(schema.NODES))),
    "backend": (str, "a name or an object", Shape.of(Fields(schema.BACKEND))),
    "conflist": (str, "a path or an object", Shape(kind="object")),
}


def read(path: Path) -> Scenario:
    """Read a file.

    Raises:
        UsageError: It cannot be read, or there are mistakes in it: all of them, with their places.
    """
    try:
        text = path.read_text()
        value, places = positions.load(text), positions.of(text)
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path}: it is not UTF-8") from exc
    except yaml.YAMLError as exc:
        raise UsageError(_broken(path, exc)) from exc
    problems = [*_repeated(places), *_wrong(value if value is not None else {})]
    if not problems:
        reader = _Reader(path, Fields.of(value or {}).values)
        scenario, problems = reader.scenario(), reader.problems
        if not problems:
            return scenario
    found = sorted((_place(places, one.where), one.message, one.hint) for one in problems)
    raise UsageError("\n".join(_told(path, *one) for one in found))


def _broken(path: Path, exc: yaml.YAMLError) -> str:
    mark = exc.problem_mark if isinstance(exc, yaml.MarkedYAMLError) else None
    place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
    reason = exc.problem if isinstance(exc, yaml.MarkedYAMLError) else exc
    return f"{path}{place}: it is not YAML: {reason}"


def _place(places: Mapping[Where, Place], where: Where) -> Place:
    """Return where something stands, or what it should stand in."""
    while where and where not in places:
        where = where[:-1]
    return places.get(where, (1, 1))


def _told(path: Path, place: Place, message: str, hint: str) -> str:
    more = f"\n  {hint}" if hint else ""
    return f"{path}:{place[0]}:{place[1]}: {message}{more}"


def _repeated(places: Mapping[Where, Place]) -> Iterator[Problem]:
    for where in places:
        if where[:1] == (positions.TWICE,):
            yield Problem(where, f"the key {where[-1]} stands twice")


def _wrong(value: object) -> Iterator[Problem]:
    """Yield what has the wrong shape."""
    found = list(shapes.check(value, _SHAPE, whole="a cluster's file"))
    yield from found
    if any(not problem.where for problem in found):
        return
    fields = Fields(value if isinstance(value, dict) else {})
    for key, (kind, words, shape) in _EITHER.items():
        value = fields.get(key)
        if isinstance(value, bool) or not isinstance(value, kind | dict | list | None):
            yield Problem((key,), f"{key} must be {words}, not {wire.shown(value)}")
        elif isinstance(value, dict | list):
            yield from shapes.check(value, shape, (key,), key)
    steps = fields.get("steps")
    for number, step in enumerate(steps if isinstance(steps, list) else ()):
        if isinstance(step, dict) and len(step) != 1:
            yield Problem(("steps", number), f"a step says one thing, not {len(step)}")


class _Reader:
    """Reads what has the right shape; notes what makes no sense."""

    def __init__(self, path: Path, value: Mapping[str, object]) -> None:
        self._path = path
        self._fields = Fields(value)
        self.problems: list[Problem] = []

    def scenario(self) -> Scenario:
        """Return what the file says; of no use if there are problems."""
        cluster = self._cluster()
        for key, problem in record.problems(cluster):
            self._note((key,), problem)
        return Scenario(cluster, tuple(self._pods(cluster)), tuple(self._steps(cluster)))

    def _cluster(self) -> Cluster:
        fields = self._fields
        backend = fields.get("backend") or record.BACKENDS[0]
        dual = fields.flag("dualStack") or fields.get("ipv6Network") is not None
        plain = Cluster(members=())
        return Cluster(
            name=self._name,
            members=tuple(self._members()),
            backend=backend if isinstance(backend, dict) else {"Type": backend},
            store=Store(fields.text("store") or Store.SQLITE),
            network=fields.text("network") or record.NETWORK,
            ipv6_network=(fields.text("ipv6Network") or record.IPV6_NETWORK) if dual else "",
            ip_masq=fields.flag("ipMasq", default=True),
            lease_ttl=float(str(fields.get("leaseTTL") or 0)),
            resync=float(str(fields.get("resync") or 0)),
            conflist=self._conflist() or plain.conflist,
        )

    @property
    def _name(self) -> str:
        return self._fields.text("name") or record.DEFAULT

    def _members(self) -> Iterator[Member]:
        listed = self._fields.get("nodes")
        if not isinstance(listed, list):
            yield from record.numbered(self._name, listed if isinstance(listed, int) else _COUNT)
            return
        seen = set[str]()
        for number, node in enumerate(map(Fields.of, listed), 1):
            name = node.text("name")
            if name in seen:
                self._say(("nodes", number - 1, "name"), f"there are two Nodes {name}")
            seen.add(name)
            yield Member(name=name, number=number, labels=_labels(node))

    def _conflist(self) -> Mapping[str, object]:
        said = self._fields.get("conflist")
        try:
            text = (
                self._path.parent.joinpath(said).read_bytes()
                if isinstance(said, str)
                else json.dumps(said).encode()
            )
            if said is None:
                return {}
            Network.from_conflist(text)
        except OSError as exc:
            self._say(("conflist",), f"cannot read {said}: {exc.strerror}")
        except CniError as exc:
            self._say(("conflist",), f"the conflist cannot be used: {exc.msg}")
        else:
            found = wire.loads(text)
            return found if isinstance(found, dict) else {}
        return {}

    def _pods(self, cluster: Cluster) -> Iterator[PodOn]:
        every = [member.name for member in cluster.members]
        seen = set[tuple[str, str]]()
        for number, pod in enumerate(self._fields.items("pods")):
            fields, at = Fields.of(pod), ("pods", number)
            name = fields.text("name")
            try:
                check_pod_name(name)
            except UsageError as exc:
                self._note((*at, "name"), exc)
            for index, node in enumerate(fields.texts("nodes") or every):
                if node not in every:
                    self._no_node((*at, "nodes", index), node, every)
                elif (node, name) in seen:
                    self._say(at, f"there are two pods {name} on Node {node}")
                seen.add((node, name))
                network, labels = fields.text("network"), _labels(fields)
                yield PodOn(node=node, name=name, network=network, labels=labels)

    def _steps(self, cluster: Cluster) -> Iterator[Step]:
        every = [member.name for member in cluster.members]
        known = [*every, *([record.STORE] if cluster.store_node else [])]
        for number, step in enumerate(self._fields.items("steps")):
            [(word, value)] = Fields.of(step).values.items()
            folded = word if word in WORDS else word.lower()
            argument = {} if value is None else WORDS[folded].argument(value)
            for key in ("node", "to"):
                if key in argument and argument[key] not in known:
                    self._no_node(("steps", number, word, key), str(argument[key]), known)
            if value is None and WORDS[folded].bare:
                self._say(("steps", number, word), f"{word} needs a {WORDS[folded].bare}")
            yield Step(folded, argument)

    def _no_node(self, where: Where, name: str, known: list[str]) -> None:
        self._say(where, f"there is no Node {name}", f"there are: {', '.join(known)}")

    def _note(self, where: Where, exc: PodnetError) -> None:
        self._say(where, exc.message, exc.hint)

    def _say(self, where: Where, message: str, hint: str = "") -> None:
        self.problems.append(Problem(where, message, hint))


def _labels(fields: Fields) -> Mapping[str, str]:
    found = fields.child("labels")
    return {key: str(value) for key, value in found.values.items()} if found else {}
