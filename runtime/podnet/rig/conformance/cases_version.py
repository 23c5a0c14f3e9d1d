"""VERSION, and verbs that there are not."""

from dataclasses import replace

from podnet import plan
from podnet.cni import versions
from podnet.cni.wire import Fields
from podnet.rig.caller import Answer, Twist
from podnet.rig.conformance.case import Level, case
from podnet.rig.conformance.trial import Trial, holds, refused, succeeded

_VERSION = "2 VERSION"
_PARAMETERS = "2 Parameters"


def _asked(trial: Trial, twist: Twist) -> Answer:
    answer = trial.cni.version(twist=twist)
    succeeded(answer, "VERSION")
    holds(answer.versions.supported, "VERSION lists no version")
    return answer


def unknown_verb(trial: Trial, verb: str) -> Answer:
    """Ask for a verb that there is not, with all that an ADD would have."""
    return trial.add(trial.pod(), Twist(environment={"CNI_COMMAND": verb}))


@case(
    "version-answers",
    Level.MUST,
    _VERSION,
    "VERSION prints one JSON object with cniVersion and supportedVersions, and exits with 0.",
    "A runtime that cannot learn a plugin's versions takes it for one of 2015, or not at all.",
)
def version_answers(trial: Trial) -> None:
    said = Fields.of(_asked(trial, Twist()).document)
    for key in ("cniVersion", "supportedVersions"):
        holds(key in said.values, f"VERSION's answer has no {key}")


@case(
    "version-lists-real-versions",
    Level.MUST,
    "5 VERSION",
    "supportedVersions lists released versions of the spec, each once.",
    "A runtime picks the newest version that both sides know; one that never was picks nothing.",
)
def version_lists_real_versions(trial: Trial) -> None:
    listed = _asked(trial, Twist()).versions.supported
    odd = [version for version in listed if version not in versions.RELEASED]
    holds(not odd, f"supportedVersions has {', '.join(odd)}, which was never released")
    holds(len(set(listed)) == len(listed), f"supportedVersions repeats itself: {listed}")


@case(
    "version-needs-no-environment",
    Level.MUST,
    _VERSION,
    "VERSION needs no parameter but CNI_COMMAND.",
    "Runtimes ask for versions long before there is a container.",
)
def version_needs_no_environment(trial: Trial) -> None:
    others = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH")
    _asked(trial, Twist(without=others))


@case(
    "version-needs-no-stdin",
    Level.SHOULD,
    _VERSION,
    "VERSION answers whatever is on stdin, also nothing.",
    "Older runtimes, and people, send nothing.",
)
def version_needs_no_stdin(trial: Trial) -> None:
    _asked(trial, Twist(stdin=b""))


@case(
    "version-in-any-version",
    Level.MUST,
    _VERSION,
    "VERSION is answered whatever cniVersion it is asked in: it is how versions are found out.",
    "A newer runtime must still learn that a plugin is old.",
)
def version_in_any_version(trial: Trial) -> None:
    for version in (*versions.RELEASED, "99.0.0"):
        answer = trial.cni.version(twist=Twist(config={"cniVersion": version}))
        succeeded(answer, f"VERSION asked in {version}")


@case(
    "version-is-current",
    Level.MAY,
    "5 VERSION",
    "A plugin speaks 1.0.0 or newer.",
    "Runtimes have begun to drop the oldest versions.",
)
def version_is_current(trial: Trial) -> None:
    listed = _asked(trial, Twist()).versions.supported
    holds({"1.0.0", "1.1.0"} & set(listed), f"the newest it speaks is {listed[-1]}")


@case(
    "version-means-its-verbs",
    Level.MUST,
    "2 CNI operations",
    "Who lists a version knows all of its verbs: CHECK from 0.4.0, GC and STATUS from 1.1.0.",
    "A runtime that trusts the list fails on every pod, or never cleans up.",
    since="0.4.0",
)
def version_means_its_verbs(trial: Trial) -> None:
    speaks = trial.cni.version().versions.supported
    pod = trial.pod()
    for step in _verbs(trial, pod.netns):
        if versions.SINCE[step.verb] not in speaks:
            continue
        answer = trial.cni.call(step)
        said = answer.stdout.decode(errors="replace").lower()
        unknown = answer.exit_status != 0 and "unknown" in said and "command" in said
        holds(not unknown, f"it lists {versions.SINCE[step.verb]} and does not know {step.verb}")


def _verbs(trial: Trial, netns: str) -> list[plan.Invocation]:
    network, path = trial.cni.network, trial.cni.executor.path
    made = [*plan.status(network.at_version("1.1.0"), path)]
    made += plan.gc(network.at_version("1.1.0"), (), path)
    check = replace(made[0], verb=versions.Verb.CHECK, stdin={**made[0].stdin})
    given = {
        "CNI_COMMAND": "CHECK",
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": netns,
        "CNI_IFNAME": "eth0",
    }
    return [*made, replace(check, environment={**check.environment, **given})]


@case(
    "verb-unknown",
    Level.MUST,
    _PARAMETERS,
    "A CNI_COMMAND that there is not is refused with an error.",
    "A verb of tomorrow that looks like a success leaves a pod without what it was promised.",
)
def verb_unknown(trial: Trial) -> None:
    refused(unknown_verb(trial, "FROBNICATE"), "the verb FROBNICATE")


@case(
    "verb-unknown-code",
    Level.MUST,
    "5 Error",
    "The code for a wrong parameter is 4, and the message names the parameter.",
    "The code is what programs tell failures apart by; the name is what people look for.",
)
def verb_unknown_code(trial: Trial) -> None:
    said = refused(unknown_verb(trial, "FROBNICATE"), "the verb FROBNICATE", codes=(4,))
    text = f"{said.text('msg')} {said.text('details')}"
    holds("CNI_COMMAND" in text, f"the message does not name CNI_COMMAND: {text}")


@case(
    "verb-unknown-changes-nothing",
    Level.MUST,
    _PARAMETERS,
    "What is refused is not done.",
    "Nobody will ever DEL what nobody knows was made.",
)
def verb_unknown_changes_nothing(trial: Trial) -> None:
    pod = trial.pod()
    before = trial.scene.picture()
    trial.add(pod, Twist(environment={"CNI_COMMAND": "FROBNICATE"}))
    trial.scene.nothing_since(before, "an unknown verb")


@case(
    "verb-lower-case",
    Level.SHOULD,
    _PARAMETERS,
    "Verbs are upper case; any other spelling is another verb.",
    "A plugin that guesses hides the mistake until another plugin of the chain does not guess.",
)
def verb_lower_case(trial: Trial) -> None:
    refused(unknown_verb(trial, "add"), "the verb add, in lower case")


@case(
    "verb-missing",
    Level.SHOULD,
    _PARAMETERS,
    "Without CNI_COMMAND nothing is done; a plugin may say what it is, on stderr.",
    "People run a plugin by hand to see what it is.",
)
def verb_missing(trial: Trial) -> None:
    pod = trial.pod()
    before = trial.scene.picture()
    answer = trial.add(pod, Twist(without=("CNI_COMMAND",)))
    holds(answer.exit_status is not None, f"it ended by {answer.last.ending}")
    if answer.exit_status != 0:
        refused(answer, "no verb at all")
    else:
        holds(b'"ips"' not in answer.stdout, "it prints a result without having been asked")
    trial.scene.nothing_since(before, "a call without CNI_COMMAND")
