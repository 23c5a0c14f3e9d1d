"""What a scenario file may hold: JSON Schema, for editors and for our own reader.

Pure.  Every key is said here and nowhere else; docs/scenarios.md tells what they are for.
"""

from collections.abc import Mapping

from podnet.rig.faults import KINDS

Schema = Mapping[str, object]


def _object(doc: str, required: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    named = {key.rstrip("_").replace("_", "-"): value for key, value in properties.items()}
    return {
        "type": "object",
        "description": doc,
        "additionalProperties": False,
        "required": list(required),
        "properties": named,
    }


def _text(doc: str, *choices: str) -> Schema:
    return {"type": "string", "description": doc, **({"enum": list(choices)} if choices else {})}


def _texts(doc: str) -> Schema:
    return {"type": "array", "items": {"type": "string"}, "description": doc}


def _states(doc: str, *states: str) -> Schema:
    values = {"type": "string", **({"enum": list(states)} if states else {})}
    return {"type": "object", "additionalProperties": values, "description": doc}


_FLAG: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "integer"}
_SECONDS: Schema = {"type": "number", "description": "Seconds."}
_ANY: Schema = {"type": "object"}
_POD = _text("The pod.")
_NETWORK = _text("The network; by default the first one.")
_IFNAME = _text("The interface in the pod; by default the next ethN.")
_JOINING: Mapping[str, Schema] = {
    "pod": _POD,
    "network": _NETWORK,
    "ifname": _IFNAME,
    "args": {**_ANY, "description": "CNI_ARGS."},
    "capabilities": {**_ANY, "description": "Capability arguments: portMappings and others."},
    "background": {**_FLAG, "description": "Do not wait: the step `wait` does."},
}

EXPECT: Schema = _object(
    "What must be so; a step without it must succeed.",
    fails={**_FLAG, "description": "The step fails."},
    code={**_NUMBER, "description": "It fails with this CNI code."},
    message=_text("It fails, and says this among others."),
    plugin=_text("It fails in this plugin."),
    stdout=_text("The command prints this among others."),
    result={**_ANY, "description": "What ADD returned has these fields, among others."},
    reached={**_FLAG, "description": "An answer to the probe came back."},
    leaks=_texts(
        "What is left of pods that are gone: a part of each thing's name; [] for nothing."
    ),
    files=_states("Path and state.", "present", "absent", "empty"),
    links=_states("Link of the Node and state.", "present", "absent"),
    kernel=_states(
        "Part of a fact and state; facts are told as `podnet leaks` does, a pod's with its namespace.",
        "present",
        "absent",
    ),
    pods=_states("Pod and state: ready, failed, absent."),
    cause=_text("The rig names this cause."),
)

ACTIONS: Mapping[str, Schema] = {
    "create": _object("Make a pod, and ADD it to a network.", ("pod",), **_JOINING),
    "attach": _object("ADD a pod to one more network.", ("pod",), **_JOINING),
    "detach": _object("DEL one attachment.", ("pod",), pod=_POD, network=_NETWORK, ifname=_IFNAME),
    "delete": _object(
        "DEL all attachments, and remove the pod.",
        ("pod",),
        pod=_POD,
        force={**_FLAG, "description": "Forget the pod though DEL fails."},
        background=_JOINING["background"],
    ),
    "check": _object("CHECK all attachments.", ("pod",), pod=_POD),
    "gc": _object("Remove what is left of pods that are gone."),
    "status": _object("Ask the plugins whether they could serve a pod.", network=_NETWORK),
    "probe": _object(
        "Try to reach somebody.",
        ("from", "to"),
        from_=_text("A pod, or @node."),
        to=_text("A pod, or an address."),
        tcp={**_NUMBER, "description": "By TCP, at this port; by ICMP otherwise."},
    ),
    "exec": _object(
        "Run a command.",
        ("command",),
        pod=_text("In this pod's network; on the Node otherwise."),
        command={**_texts("Its words."), "minItems": 1},
    ),
    "fault": _text(f"Let something go wrong from now on: {', '.join(KINDS)}."),
    "heal": _text("Undo a fault, spelled as it was; or `all`."),
    "wait": _object(
        "Wait for a pod's background step, or some seconds.", pod=_POD, seconds=_SECONDS
    ),
    "crash": _object("The runtime loses what it knew, and takes nothing back."),
    "reboot": _object("Start the Node again: what is on disk stays."),
}

_STEP = _object(
    "One step: one of the actions, and what is expected; or an expectation alone.",
    about=_text("Why."),
    expect=EXPECT,
    **ACTIONS,
)

_STUB = _object(
    "A plugin that answers every call alike.",
    script=_text("Shell, run before it answers; its stdin has been read."),
    stdout=_text("What it prints."),
    stderr=_text("What it logs."),
    status={**_NUMBER, "description": "How it exits."},
)

SCHEMA: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "podnet scenario",
    **_object(
        "A scenario.",
        ("steps",),
        name=_text("What it is about, in a sentence."),
        about=_text("More of it."),
        issues=_texts("Public issues that it reproduces, owner/repository#number."),
        runtime=_text(
            "Who drives: podnet, which undoes and refuses; libcni, which does neither.",
            "podnet",
            "libcni",
        ),
        plugin_dirs=_texts("Directories of plugins; `podnet`, the default, is its own."),
        stubs={
            "type": "object",
            "additionalProperties": _STUB,
            "description": "Plugins that are written here, by their type.",
        },
        timeout={**_SECONDS, "description": "Seconds that a plugin may take."},
        networks={"type": "array", "items": _ANY, "description": "Conflists."},
        steps={"type": "array", "items": _STEP, "description": "What is done, in order."},
    ),
}
