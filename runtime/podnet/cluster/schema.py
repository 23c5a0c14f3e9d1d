"""What a cluster's file may hold, as JSON Schema for editors; the same that files are held to.

Pure.  What only the file as a whole can say (a Node that there is not) is podnet.cluster.file's.
"""

from collections.abc import Mapping

from podnet.cluster.record import BACKENDS, MOST_NODES, NETWORK, Store
from podnet.cluster.steps import WORDS

JsonSchema = Mapping[str, object]
_NAME: JsonSchema = {"type": "string", "pattern": "^[a-zA-Z0-9][a-zA-Z0-9_.-]*$"}
_LABELS: JsonSchema = {"type": "object", "additionalProperties": {"type": "string"}}
_UNTIL_65535: JsonSchema = {"type": "integer", "minimum": 0, "maximum": 65535}
_SECONDS: JsonSchema = {"type": "number", "minimum": 1}


def _object(about: str, required: tuple[str, ...] = (), **properties: JsonSchema) -> JsonSchema:
    made = {"type": "object", "description": about, "properties": properties}
    required_too = {"required": list(required)} if required else {}
    return made | required_too | {"additionalProperties": False}


#: A Node where it is described.
NODE = _object("A Node.", ("name",), name=_NAME, labels=_LABELS)
NODES: JsonSchema = {"type": "array", "minItems": 1, "items": NODE}
BACKEND: JsonSchema = {
    "description": "flannel's Backend, with what belongs to its Type.",
    "type": "object",
    "properties": {
        "Type": {"type": "string", "enum": list(BACKENDS)},
        "VNI": {"type": "integer", "minimum": 0, "maximum": (1 << 24) - 1},
        "Port": _UNTIL_65535,
        "MTU": _UNTIL_65535,
        "AS": {"type": "integer", "minimum": 0, "maximum": (1 << 32) - 2},
        **{key: {"type": "boolean"} for key in ("GBP", "Learning", "DirectRouting")},
        **{key: {"type": "string"} for key in ("RouteReflector", "IPv6RouteReflector")},
    },
    "required": ["Type"],
}
_POD = _object(
    "A pod, one on each of the Nodes.",
    ("name",),
    name=_NAME,
    nodes={
        "description": "Where; all Nodes, if it does not say.",
        "type": "array",
        "items": {"type": "string"},
    },
    network={"description": "Its network; the first one.", "type": "string"},
    labels=_LABELS,
)


def of_file() -> JsonSchema:
    """Return the schema of a whole file (draft 7, which editors know)."""
    count = {"type": "integer", "minimum": 1, "maximum": MOST_NODES}
    described = _object(
        "A cluster: Nodes with a network manager each, the pods on them, and what happens to them.",
        name={"description": "Its name; cluster.", **_NAME},
        nodes={
            "description": "How many Nodes, or which ones; 3.",
            "anyOf": [count, NODES],
        },
        backend={
            "description": "How packets travel; vxlan.",
            "anyOf": [{"type": "string", "enum": list(BACKENDS)}, BACKEND],
        },
        store={
            "description": "Where leases are kept; sqlite.",
            "type": "string",
            "enum": [str(store) for store in Store],
        },
        network={"description": f"What subnets are leased of; {NETWORK}.", "type": "string"},
        dualStack={"description": "Pods have IPv6 addresses, too; no.", "type": "boolean"},
        ipv6Network={"description": "And these are of this network.", "type": "string"},
        ipMasq={"description": "Masquerade what leaves the network; yes.", "type": "boolean"},
        leaseTTL={"description": "Seconds that a lease lasts; a day.", **_SECONDS},
        resync={"description": "Seconds between looks at the kernel; ten.", **_SECONDS},
        conflist={
            "description": "What every Node's pods join: a CNI conflist, or the path of one.",
            "anyOf": [{"type": "string"}, {"type": "object"}],
        },
        pods={"description": "The pods.", "type": "array", "items": _POD},
        steps={
            "description": "What happens then, one after the other.",
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    name: _step(word.about, word.schema) for name, word in WORDS.items()
                },
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            },
        },
    )
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "podnet cluster"}
    return head | dict(described)


def _step(about: str, schema: JsonSchema) -> JsonSchema:
    return {"description": about, **schema}
