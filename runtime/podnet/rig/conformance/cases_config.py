"""What is on stdin: not JSON, not a configuration, not one of ours; or large, odd and right."""

import json

from podnet.cni import versions
from podnet.cni.wire import Fields
from podnet.rig.caller import Twist
from podnet.rig.conformance.case import Level, case
from podnet.rig.conformance.scene import Inapplicable
from podnet.rig.conformance.trial import Trial, holds, refused, succeeded

_FORMAT = "1 Configuration format"
_ERRORS = "2 Errors"
_ERROR = "5 Error"
_MEGABYTE = 1 << 20


def _sent(trial: Trial, stdin: bytes, what: str, *, codes: tuple[int, ...] = ()) -> Fields:
    return refused(trial.add(trial.pod(), Twist(stdin=stdin)), what, codes=codes)


def _configured(
    trial: Trial, what: str, *, codes: tuple[int, ...] = (), **config: object
) -> Fields:
    return refused(trial.add(trial.pod(), Twist(config=config)), what, codes=codes)


@case(
    "config-empty",
    Level.MUST,
    _ERRORS,
    "Nothing on stdin is an error.",
    "A runtime that died half way leaves exactly that.",
)
def config_empty(trial: Trial) -> None:
    _sent(trial, b"", "ADD with nothing on stdin")


@case(
    "config-malformed",
    Level.MUST,
    _ERRORS,
    "A configuration that is not JSON is an error.",
    "A file with a comma too many shall say so, not half work.",
)
def config_malformed(trial: Trial) -> None:
    _sent(trial, b"not JSON at all", "a configuration that is not JSON")


@case(
    "config-malformed-code",
    Level.SHOULD,
    _ERROR,
    "The code for what cannot be decoded is 6.",
    "Trying again does not help here, and the code says so.",
)
def config_malformed_code(trial: Trial) -> None:
    _sent(trial, b"not JSON at all", "a configuration that is not JSON", codes=(6,))


@case(
    "config-truncated",
    Level.MUST,
    _ERRORS,
    "Half a configuration is an error.",
    "A pipe that breaks must not become a network that is half of what was asked.",
)
def config_truncated(trial: Trial) -> None:
    whole = {"cniVersion": trial.cni_version, "name": "n", "type": trial.subject.plugin}
    _sent(trial, json.dumps(whole).encode()[:-1], "half a configuration")


@case(
    "config-no-object",
    Level.MUST,
    _FORMAT,
    "A configuration is a JSON object; a list or a string is an error.",
    "A whole conflist, sent by mistake, shall be told from a plugin's configuration.",
)
def config_no_object(trial: Trial) -> None:
    pod = trial.pod()
    for sent in (b"[]", b'"bridge"', b"7"):
        refused(trial.add(pod, Twist(stdin=sent)), f"the configuration {sent.decode()}")


@case(
    "config-two-documents",
    Level.SHOULD,
    _FORMAT,
    "A configuration is one JSON document, and nothing after it.",
    "Which of two was meant, nobody can know.",
)
def config_two_documents(trial: Trial) -> None:
    one = {"cniVersion": trial.cni_version, "type": trial.subject.plugin, "name": "n"}
    _sent(
        trial,
        (json.dumps(one | dict(trial.subject.parameters.config)) + "{}").encode(),
        "two configurations in one",
    )


@case(
    "config-version-unknown",
    Level.MUST,
    _ERROR,
    "A version that the plugin does not speak is an error.",
    "A result in a shape that nobody asked for is misread.",
)
def config_version_unknown(trial: Trial) -> None:
    _configured(trial, "cniVersion 99.0.0", cniVersion="99.0.0")


@case(
    "config-version-unknown-code",
    Level.MUST,
    _ERROR,
    "The code for a version that is not spoken is 1.",
    "A runtime may try an older version on that code, and on no other.",
)
def config_version_unknown_code(trial: Trial) -> None:
    _configured(trial, "cniVersion 99.0.0", cniVersion="99.0.0", codes=(1,))


@case(
    "config-version-not-listed",
    Level.MUST,
    "2 VERSION",
    "A released version that VERSION does not list is refused.",
    "What VERSION says is all that a runtime goes by.",
)
def config_version_not_listed(trial: Trial) -> None:
    listed = trial.cni.version().versions.supported
    others = [version for version in versions.RELEASED if version not in listed]
    if not others:
        raise Inapplicable("it speaks every version")
    pod = trial.pod()
    for version in others:
        answer = trial.add(pod, Twist(config={"cniVersion": version}))
        refused(answer, f"cniVersion {version}, which VERSION does not list")


@case(
    "config-version-no-version",
    Level.MUST,
    _FORMAT,
    "cniVersion is a version.",
    "A typo must not mean the version of 2015.",
)
def config_version_no_version(trial: Trial) -> None:
    _configured(trial, "cniVersion 'newest'", cniVersion="newest")


@case(
    "config-version-of-wrong-type",
    Level.MUST,
    _FORMAT,
    "cniVersion is a string.",
    "YAML makes a number of 1.0 when nobody looks.",
)
def config_version_of_wrong_type(trial: Trial) -> None:
    _configured(trial, "cniVersion 1.0, a number", cniVersion=1)


@case(
    "config-version-absent",
    Level.SHOULD,
    _FORMAT,
    "A configuration without cniVersion is one of 0.1.0: answered in that shape, or refused.",
    "That is what the oldest files on a node look like.",
)
def config_version_absent(trial: Trial) -> None:
    answer = trial.add(trial.pod(), Twist(without_config=("cniVersion",)))
    if answer.exit_status != 0:
        refused(answer, "a configuration without cniVersion")
        return
    said = Fields.of(answer.document, "the result")
    version = said.text("cniVersion") or versions.UNVERSIONED
    holds(version in versions.RELEASED[:2], f"the result is of {version}, not of 0.1.0")


@case(
    "config-name-missing",
    Level.MUST,
    _FORMAT,
    "A configuration has a name.",
    "Addresses and rules are kept under it: two networks without one share them.",
)
def config_name_missing(trial: Trial) -> None:
    answer = trial.add(trial.pod(), Twist(without_config=("name",)))
    refused(answer, "a configuration without a name")


@case(
    "config-name-characters",
    Level.MUST,
    _FORMAT,
    "A network's name is letters, digits, '_', '.' and '-', and begins with a letter or digit.",
    "Plugins make file names of it.",
)
def config_name_characters(trial: Trial) -> None:
    pod = trial.pod()
    before = trial.scene.picture()
    for name in ("../../run/evil", "-n", "a b", ""):
        answer = trial.add(pod, Twist(config={"name": name}))
        refused(answer, f"a network called {name!r}")
    trial.scene.nothing_since(before, "a refused name")


@case(
    "config-bad-parameter",
    Level.MUST,
    "2 ADD",
    "A value that the plugin cannot use is an error.",
    "What was silently left out is missed in production.",
)
def config_bad_parameter(trial: Trial) -> None:
    bad = trial.subject.parameters.bad
    if not bad:
        raise Inapplicable("its parameters name no bad value (key `bad`)")
    pod = trial.pod()
    for keys in bad:
        answer = trial.configured(**keys).add(pod)
        refused(answer, f"the configuration {json.dumps(dict(keys))}")


@case(
    "config-args-of-others",
    Level.MUST,
    "1 Plugin configuration objects",
    "args may hold anything; what a plugin does not understand there it ignores.",
    "Runtimes and operators put labels there.",
)
def config_args_of_others(trial: Trial) -> None:
    mine = trial.subject.parameters.config.get("args")
    args = {"example.org": {"a": [1, {"b": None}]}, "labels": [{"key": "app", "value": "web"}]}
    whole = args | (mine if isinstance(mine, dict) else {})
    succeeded(trial.add(trial.pod(), Twist(config={"args": whole})), "ADD with args of others")


@case(
    "config-runtime-config-of-others",
    Level.SHOULD,
    "3 Deriving request configuration",
    "runtimeConfig may hold capabilities that a plugin has never heard of.",
    "One runtime serves many plugins.",
)
def config_runtime_config_of_others(trial: Trial) -> None:
    pod = trial.pod()
    given = {**pod.capability_args, "example.org/unheard-of": {"x": 1}}
    succeeded(
        trial.add(pod, Twist(config={"runtimeConfig": given})), "ADD with unknown capabilities"
    )


@case(
    "config-large",
    Level.SHOULD,
    "2 Parameters",
    "A configuration may be large: a plugin reads stdin to its end.",
    "A megabyte of labels arrives in many pieces; who reads once reads half of it.",
)
def config_large(trial: Trial) -> None:
    mine = trial.subject.parameters.config.get("args")
    args = (mine if isinstance(mine, dict) else {}) | {"padding": "x" * _MEGABYTE}
    succeeded(trial.add(trial.pod(), Twist(config={"args": args})), "ADD with a megabyte of args")


@case(
    "config-oversized",
    Level.SHOULD,
    _ERRORS,
    "A configuration beyond all measure gets an answer: a result, or an error object.",
    "A plugin that dies or hangs takes the runtime's lock with it.",
)
def config_oversized(trial: Trial) -> None:
    answer = trial.add(trial.pod(), Twist(stdin=b'{"a":"' + b"x" * (16 * _MEGABYTE)))
    refused(answer, "16 MiB that never end")


@case(
    "config-deep",
    Level.SHOULD,
    _ERRORS,
    "A configuration of a hundred thousand levels gets an answer: a result, or an error object.",
    "Recursion without a bound ends in a crash.",
)
def config_deep(trial: Trial) -> None:
    depth = 100_000
    whole = {"cniVersion": trial.cni_version, "name": "n", "type": trial.subject.plugin}
    deep = json.dumps(whole)[:-1] + ', "args": ' + '{"a":' * depth + "1" + "}" * depth + "}"
    answer = trial.add(trial.pod(), Twist(stdin=deep.encode()))
    if answer.exit_status != 0:
        refused(answer, "a hundred thousand levels")


@case(
    "config-not-only-ascii",
    Level.SHOULD,
    _FORMAT,
    "A configuration is JSON with all that JSON may hold: any character, escaped or not.",
    "Labels are in the languages of people.",
)
def config_not_only_ascii(trial: Trial) -> None:
    mine = trial.subject.parameters.config.get("args")
    args = (mine if isinstance(mine, dict) else {}) | {"ключ": "値 \u2028 😀 \t"}
    succeeded(
        trial.add(trial.pod(), Twist(config={"args": args})), "ADD with characters of all kinds"
    )
