"""CNI_* parameters that are missing or wrong, and everything else that a process inherits."""

from collections.abc import Sequence
from pathlib import Path

from podnet.cni.wire import Fields
from podnet.rig.caller import Answer, Twist
from podnet.rig.conformance.case import Level, case
from podnet.rig.conformance.subject import Kind
from podnet.rig.conformance.trial import Trial, holds, refused, succeeded

_PARAMETERS = "2 Parameters"
_ERROR = "5 Error"
#: What a service manager gives its children.
_BARE = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def _without(trial: Trial, variable: str) -> Answer:
    return trial.add(trial.pod(), Twist(without=(variable,)))


def _names(said: Fields, *variables: str) -> None:
    text = f"{said.text('msg')} {said.text('details')}"
    for variable in variables:
        holds(variable in text, f"the message does not name {variable}: {text}")


def _refuses(trial: Trial, variable: str, values: Sequence[str]) -> None:
    pod = trial.pod()
    before = trial.scene.picture()
    for value in values:
        answer = trial.add(pod, Twist(environment={variable: value}))
        refused(answer, f"ADD with {variable}={value!r}")
    trial.scene.nothing_since(before, f"a refused {variable}")


@case(
    "env-add-without-container-id",
    Level.MUST,
    "2 ADD",
    "ADD needs CNI_CONTAINERID.",
    "State that is kept under no name is never found again.",
)
def env_add_without_container_id(trial: Trial) -> None:
    refused(_without(trial, "CNI_CONTAINERID"), "ADD without CNI_CONTAINERID")


@case(
    "env-add-without-netns",
    Level.MUST,
    "2 ADD",
    "ADD needs CNI_NETNS.",
    "Without it a plugin would configure the host.",
)
def env_add_without_netns(trial: Trial) -> None:
    refused(_without(trial, "CNI_NETNS"), "ADD without CNI_NETNS")


@case(
    "env-add-without-ifname",
    Level.MUST,
    "2 ADD",
    "ADD needs CNI_IFNAME.",
    "A name of the plugin's choice is one that nobody looks for.",
)
def env_add_without_ifname(trial: Trial) -> None:
    refused(_without(trial, "CNI_IFNAME"), "ADD without CNI_IFNAME")


@case(
    "env-empty-is-missing",
    Level.MUST,
    _PARAMETERS,
    "A container ID and an interface name are not empty.",
    "Runtimes always set all variables; what they do not know is empty.",
)
def env_empty_is_missing(trial: Trial) -> None:
    pod = trial.pod()
    for variable in ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"):
        answer = trial.add(pod, Twist(environment={variable: ""}))
        refused(answer, f"ADD with an empty {variable}")


@case(
    "env-missing-is-named",
    Level.MUST,
    _ERROR,
    "The code for missing parameters is 4, and the message names each of them.",
    "One look at the log shall do, not one try for each.",
)
def env_missing_is_named(trial: Trial) -> None:
    both = ("CNI_CONTAINERID", "CNI_IFNAME")
    answer = trial.add(trial.pod(), Twist(without=both))
    _names(refused(answer, f"ADD without {' and '.join(both)}", codes=(4,)), *both)


@case(
    "env-del-without-container-id",
    Level.MUST,
    "2 DEL",
    "DEL needs CNI_CONTAINERID.",
    "A DEL of nobody that succeeds hides a leak; one of everybody takes a node down.",
)
def env_del_without_container_id(trial: Trial) -> None:
    answer = trial.delete(trial.pod(), Twist(without=("CNI_CONTAINERID",)))
    refused(answer, "DEL without CNI_CONTAINERID")


@case(
    "env-del-without-ifname",
    Level.MUST,
    "2 DEL",
    "DEL needs CNI_IFNAME.",
    "A container may have several interfaces of one network, and only one is to go.",
)
def env_del_without_ifname(trial: Trial) -> None:
    answer = trial.delete(trial.pod(), Twist(without=("CNI_IFNAME",)))
    refused(answer, "DEL without CNI_IFNAME")


@case(
    "env-check-without-netns",
    Level.MUST,
    "2 CHECK",
    "CHECK needs CNI_NETNS.",
    "A CHECK that looked at nothing and found nothing wrong is worse than none.",
    since="0.4.0",
)
def env_check_without_netns(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    refused(trial.check(pod, Twist(without=("CNI_NETNS",))), "CHECK without CNI_NETNS")


@case(
    "env-container-id-characters",
    Level.MUST,
    _PARAMETERS,
    "A container ID is letters, digits, '_', '.' and '-', and begins with a letter or digit.",
    "Plugins make file names of it: '../' in one writes wherever a caller likes.",
)
def env_container_id_characters(trial: Trial) -> None:
    _refuses(trial, "CNI_CONTAINERID", ["../../run/evil", "-x", "a b", "a\n", "ü"])


@case(
    "env-ifname-too-long",
    Level.MUST,
    _PARAMETERS,
    "An interface name has less than 16 characters.",
    "The kernel would cut or refuse it, after half of the work is done.",
)
def env_ifname_too_long(trial: Trial) -> None:
    _refuses(trial, "CNI_IFNAME", ["a" * 16])


@case(
    "env-ifname-characters",
    Level.MUST,
    _PARAMETERS,
    "An interface name is not '.' or '..', and has no '/', ':' or white space.",
    "It becomes a path below /proc/sys and the names of rules.",
)
def env_ifname_characters(trial: Trial) -> None:
    _refuses(trial, "CNI_IFNAME", [".", "..", "a/b", "a:b", "a b", "a\t"])


@case(
    "env-netns-is-missing",
    Level.MUST,
    "2 ADD",
    "ADD fails when there is no network namespace at CNI_NETNS, and leaves nothing.",
    "The container died while it was being made: that happens every day.",
    kinds=(Kind.MAKES, Kind.ADJUSTS),
)
def env_netns_is_missing(trial: Trial) -> None:
    pod = trial.pod()
    answer = trial.add(pod, Twist(environment={"CNI_NETNS": "/run/netns/no-such-namespace"}))
    refused(answer, "ADD in a namespace that is not there")


@case(
    "env-netns-is-a-file",
    Level.MUST,
    "2 ADD",
    "ADD fails when the file at CNI_NETNS is no network namespace.",
    "A namespace that was unmounted leaves a plain file of that name.",
    kinds=(Kind.MAKES, Kind.ADJUSTS),
)
def env_netns_is_a_file(trial: Trial) -> None:
    pod = trial.pod()
    plain = "/run/netns/plain"
    trial.on_node(Path(plain).write_text, "")
    refused(
        trial.add(pod, Twist(environment={"CNI_NETNS": plain})),
        "ADD in a file that is no namespace",
    )


@case(
    "env-netns-is-the-host",
    Level.SHOULD,
    "3 Lifecycle & Ordering",
    "A container's network namespace is another than the host's; ADD there fails, and does nothing.",
    "A stale path that leads to the host's namespace takes the host's own lo or eth0 down.",
    kinds=(Kind.MAKES, Kind.ADJUSTS),
)
def env_netns_is_the_host(trial: Trial) -> None:
    pod = trial.pod()
    own = "/run/netns/host"
    trial.on_node(_pin_own, Path(own))
    before = trial.scene.picture()
    answer = trial.add(pod, Twist(environment={"CNI_NETNS": own}))
    trial.scene.nothing_since(before, "ADD in the host's own namespace")
    refused(answer, "ADD in the host's own namespace")


def _pin_own(path: Path) -> None:
    path.symlink_to("/proc/thread-self/ns/net")


@case(
    "env-args-of-kubernetes",
    Level.MUST,
    _PARAMETERS,
    "CNI_ARGS may hold keys of others, with IgnoreUnknown=1 among them.",
    "Kubernetes sends four of them with every call.",
)
def env_args_of_kubernetes(trial: Trial) -> None:
    said = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=1-2"
    given = ";".join(f"{key}={value}" for key, value in trial.subject.parameters.args.items())
    pod = trial.pod()
    both = ";".join(filter(None, [given, said]))
    succeeded(
        trial.add(pod, Twist(environment={"CNI_ARGS": both})), "ADD with Kubernetes' CNI_ARGS"
    )


@case(
    "env-args-malformed",
    Level.MUST,
    "2 Errors",
    "CNI_ARGS that are no pairs are ignored or refused, with an error object.",
    "A crash is the one answer that nobody can act on.",
)
def env_args_malformed(trial: Trial) -> None:
    answer = trial.add(trial.pod(), Twist(environment={"CNI_ARGS": "=;;a;b=c=d;IP"}))
    if answer.exit_status != 0:
        refused(answer, "malformed CNI_ARGS")


@case(
    "env-args-absent",
    Level.MUST,
    "2 ADD",
    "CNI_ARGS is optional.",
    "Runtimes without arguments leave it out.",
)
def env_args_absent(trial: Trial) -> None:
    pod = trial.pod()
    if pod.args:
        return
    succeeded(trial.add(pod, Twist(without=("CNI_ARGS",))), "ADD without CNI_ARGS")


@case(
    "env-any-directory",
    Level.MUST,
    _PARAMETERS,
    "All that a plugin is told is in the parameters and on stdin, not in where it is started.",
    "Runtimes start plugins in any directory, also one that cannot be written to.",
)
def env_any_directory(trial: Trial) -> None:
    pod = trial.pod()
    succeeded(trial.add(pod, Twist(cwd=Path("/proc"))), "ADD started in /proc")
    succeeded(trial.delete(pod, Twist(cwd=Path("/sys"))), "DEL started in /sys")


@case(
    "env-directory-stays-clean",
    Level.SHOULD,
    _PARAMETERS,
    "A plugin leaves no file where it is started.",
    "Where that is, nobody will ever look.",
)
def env_directory_stays_clean(trial: Trial) -> None:
    where = Path("/run/podnet/cwd")
    trial.on_node(where.mkdir, parents=True)
    pod = trial.pod()
    trial.add(pod, Twist(cwd=where))
    trial.delete(pod, Twist(cwd=where))
    left = trial.on_node(lambda: sorted(path.name for path in where.iterdir()))
    holds(not left, f"it leaves {', '.join(left)} in the directory that it was started in")


@case(
    "env-hardly-anything-inherited",
    Level.SHOULD,
    _PARAMETERS,
    "A plugin needs nothing of what it inherits but PATH: no HOME, no USER, no locale.",
    "A service manager sets none of them; what works in a shell then fails in production.",
)
def env_hardly_anything_inherited(trial: Trial) -> None:
    pod = trial.pod()
    succeeded(trial.add(pod, Twist(inherited=_BARE)), "ADD with nothing inherited but PATH")
    succeeded(trial.delete(pod, Twist(inherited=_BARE)), "DEL with nothing inherited but PATH")


@case(
    "env-noise-inherited",
    Level.SHOULD,
    _PARAMETERS,
    "What a plugin inherits besides does not change what it does.",
    "A variable from a developer's shell, or of a proxy, is no configuration.",
)
def env_noise_inherited(trial: Trial) -> None:
    noise = {
        "HOME": "/nonexistent",
        "TMPDIR": "/nonexistent",
        "LANG": "xx_YY.UTF-8",
        "LC_ALL": "xx_YY.UTF-8",
        "CNI_UNKNOWN": "1",
        "NETCONFPATH": "/nonexistent",
        "CAP_ARGS": "{",
        "TRACEPARENT": "00-0-0-00",
        "DEBUG": "1",
    }
    pod = trial.pod()
    inherited = _BARE | noise
    succeeded(trial.add(pod, Twist(inherited=inherited)), "ADD with odd variables inherited")
    succeeded(trial.delete(pod, Twist(inherited=inherited)), "DEL with odd variables inherited")
