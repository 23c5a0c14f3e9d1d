"""podnet for somebody who is not root: the same commands, in a user namespace that it keeps.

The user is one that nobody is, in a Node of the test's own: no capabilities, no groups, a home
and a runtime directory below a directory that is removed again.
"""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from podnet.kernel import libc

PODNET = Path(sys.executable).parent / "podnet"
#: Nobody, and another nobody for every worker: what one leaves is told from what another has.
USER = 40000 + os.getpid() % 20000
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "plugin-repository"
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class User:
    """An ordinary user, and what they can see of podnet.

    Attributes:
        podnet: The command line in the test's Node.
        home: Their home.
        runtime: Their XDG_RUNTIME_DIR.
    """

    podnet: Any
    home: Path
    runtime: Path

    def __call__(self, *arguments: str | Path, status: int = 0, env: Any = None) -> Any:
        """Run podnet as the user; see the fixture of that name."""
        mine = {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.runtime)}
        return self.podnet(
            *arguments, status=status, env=mine | (env or {}), through=(*_BECOME, str(USER))
        )

    def json(self, *arguments: str | Path, status: int = 0) -> Any:
        """Run podnet as the user with ``-o json``."""
        return json.loads(self(*arguments, "-o", "json", status=status).stdout)

    def keeper(self) -> dict[str, Any]:
        """Return the record of the process that keeps the user's namespaces."""
        found: dict[str, Any] = json.loads((self.runtime / "podnet/keeper.json").read_text())
        return found

    def processes(self) -> list[int]:
        """Return the user's processes that run."""
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in pids if _runs_as(pid) == USER]

    def await_end(self) -> None:
        """Wait until the user has no process left."""
        deadline = time.monotonic() + _PATIENCE
        while left := self.processes():
            assert time.monotonic() < deadline, [
                Path(f"/proc/{pid}/cmdline").read_text() for pid in left
            ]
            time.sleep(0.02)


# Not setpriv's --reuid with names: the user is in no file.
_BECOME = ("setpriv", "--regid", str(USER), "--clear-groups", "--inh-caps=-all", "--reuid")


def _runs_as(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return None if fields["State"].split()[0] in {"Z", "X"} else int(fields["Uid"].split()[0])


@pytest.fixture
def user(node, podnet, becomes_anybody) -> Iterator[User]:
    """An ordinary user."""
    allowed = (*_BECOME, str(USER), "unshare", "--user", "true")
    if node.run(subprocess.run, allowed, capture_output=True, check=False).returncode != 0:
        pytest.skip("this system lets nobody have a user namespace")
    directory = Path(tempfile.mkdtemp(prefix="podnet-test-"))
    directory.chmod(0o711)
    home, runtime = directory / "home", directory / "runtime"
    try:
        for made in (home, runtime):
            made.mkdir(mode=0o700)
            os.chown(made, USER, USER)
        node.run(_let_everybody_read, [PODNET, Path(sys.base_prefix), Path(__file__)])
        made_user = User(podnet, home, runtime)
        yield made_user
        made_user.await_end()
    finally:
        for pid in User(podnet, home, runtime).processes():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(directory)


def _let_everybody_read(paths: list[Path]) -> None:
    """Show, in this Node, what is below directories that only root may enter: /root, mostly."""
    paths = sorted({p.resolve() for p in paths} | {p.absolute() for p in paths})
    closed = [_first_closed(path) for path in paths]
    held = {
        path: os.open(path.parent, os.O_PATH)
        for path, above in zip(paths, closed, strict=True)
        if above
    }
    for above in sorted({above for above in closed if above}):
        libc.mount("podnet", str(above), "tmpfs", 0, "mode=755")
    for path, descriptor in held.items():
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
            libc.mount(f"/proc/thread-self/fd/{descriptor}", str(path.parent), flags=libc.MS_BIND)
        os.close(descriptor)


def _first_closed(path: Path) -> Path | None:
    above = reversed(path.parents)
    return next((p for p in above if not stat.S_IMODE(p.stat().st_mode) & stat.S_IXOTH), None)


def test_a_node_with_pods_lives_from_command_to_command_and_leaves_nothing(user, sh):
    sh("ip netns add of-root")  # which the user's mount namespace inherits
    said = user("node", "create", "lab").stderr
    assert "without root" in said
    assert "user namespace" in said
    first = user.keeper()

    again = user("--node", "lab", "create", "web", "db").stderr
    assert "without root" not in again
    assert [pod["state"] for pod in user.json("--node", "lab", "list")["items"]] == ["ready"] * 2
    user("--node", "lab", "ping", "web", "db")
    user("--node", "lab", "check")
    # A user's PATH; nft is among root's programs, and plugins need it.
    looked = ("exec", "web", "--", "sh", "-c", "ip link; command -v nft")
    found = user("--node", "lab", *looked, env={"PATH": "/usr/bin:/bin"}).stdout
    assert "eth0" in found
    assert "/sbin/nft" in found
    assert user("--node", "lab", "gc").returncode == 0
    assert user.keeper() == first

    user("node", "delete", "lab")
    user.await_end()
    assert sorted(p.name for p in (user.runtime / "podnet").iterdir()) == ["lock"]


def test_pods_need_no_node_and_the_machine_s_network_is_not_touched(user, sh):
    before = sh("ip -br link; ip netns; nft list ruleset; cat /proc/self/mountinfo | wc -l")

    user("create", "web", "--network", _reference(user), "-p", "8080:80")
    user("probe", "@node", "web", "--tcp", "80")
    assert sh("ip -br link; ip netns; nft list ruleset; cat /proc/self/mountinfo | wc -l") == before
    user("check")
    user("delete", "web")

    user.await_end()
    assert user.json("list")["items"] == []


def test_leaks_are_detected_in_a_node_of_the_user_s_own(user):
    said = user("leaks", _reference(user), "--cycles", "2").stderr

    assert "2 cycles, 16 invocations" in said
    assert "no leaks" in said


def _reference(user: User) -> Path:
    """A chain of podnet's own plugins with everything that iptables and sysctls are asked for."""
    path = user.home / "chain.conflist"
    subnet = {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24"}]]}
    plugins = [
        {"type": "bridge", "bridge": "b0", "isGateway": True, "ipMasq": True, "ipam": subnet},
        {"type": "portmap", "capabilities": {"portMappings": True}},
        {"type": "firewall"},
        {"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}},
    ]
    path.write_text(json.dumps({"cniVersion": "1.0.0", "name": "chain", "plugins": plugins}))
    path.chmod(0o644)
    return path


_LAB = """
nodes: 2
store: etcd
pods: [{name: web}]
steps:
  - impair: {node: n1, loss: 10, rate: 10000000}
  - mend: n1
  - restart: "@store"
  - reboot: n2
  - probe: {within: 30}
"""


def test_a_cluster_comes_up_is_probed_and_goes_without_a_trace(user):
    path = user.home / "lab.yaml"
    path.write_text(_LAB)
    path.chmod(0o644)

    user("cluster", "up", path)

    assert {cell["reached"] for cell in user.json("probe", "--all")["items"]} == {True}
    user("cluster", "down")

    user.await_end()


def test_what_a_lost_keeper_kept_is_gone_as_after_a_reboot(user):
    user("create", "web")
    os.kill(user.keeper()["pid"], signal.SIGKILL)
    user.await_end()

    done = user("check", "web", status=4)
    assert "as after a reboot" in done.stderr
    user("delete", "web")
    user("create", "web")
    user("delete", "web")


def test_a_keeper_that_is_asked_to_end_takes_with_it_what_runs_there(user):
    user("node", "create", "lab")
    sleeper = user.podnet.start(
        "node", "exec", "lab", "--", "sleep", "1000", env=_as(user), through=_become()
    )
    while not Path(f"/proc/{sleeper.pid}/cmdline").read_bytes().startswith(b"sleep"):
        time.sleep(0.02)

    os.kill(user.keeper()["pid"], signal.SIGTERM)

    sleeper.communicate(timeout=_PATIENCE)
    assert sleeper.returncode == -signal.SIGKILL
    user.await_end()
    assert not (user.runtime / "podnet/keeper.json").exists()


def test_commands_at_once_share_one_keeper(user):
    running = [
        user.podnet.start("create", f"pod{n}", env=_as(user), through=_become()) for n in range(3)
    ]
    ended = [process.communicate(timeout=_PATIENCE) for process in running]

    assert [process.returncode for process in running] == [0] * 3, ended
    assert len(user.json("list")["items"]) == 3
    user("delete", "--all")


def _as(user: User) -> dict[str, str]:
    return {"HOME": str(user.home), "XDG_RUNTIME_DIR": str(user.runtime)}


def _become() -> tuple[str, ...]:
    return (*_BECOME, str(USER))


def test_somebody_else_s_directory_is_refused(user):
    user.runtime.rmdir()
    (user.runtime / "podnet").mkdir(parents=True)
    user.runtime.chmod(0o755)

    done = user("list", status=2)

    assert f"{user.runtime}/podnet belongs to user 0" in done.stderr
    assert "XDG_RUNTIME_DIR" in done.stderr


def test_one_state_is_not_kept_twice(user):
    user("create", "web")
    other = user.home / "other"
    other.mkdir()
    os.chown(other, USER, USER)

    done = user("list", status=2, env={"XDG_RUNTIME_DIR": str(other)})

    assert "is in use by a podnet" in done.stderr
    user("delete", "web")


# Root of a user namespace in which everybody is mapped, and nobody may make another.
_FORBID = """
import os, sys
from pathlib import Path
from podnet.kernel import libc

pid, (there, ready), (mapped, done) = os.getpid(), os.pipe(), os.pipe()
if os.fork() == 0:
    os.read(there, 1)
    for kind in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}/{kind}").write_text("0 0 65536")
    os.write(done, b".")
    os._exit(0)
libc.unshare(libc.CLONE_NEWUSER)
os.write(ready, b".")
os.read(mapped, 1)
os.wait()
Path("/proc/sys/user/max_user_namespaces").write_text("0")
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_where_user_namespaces_are_forbidden_podnet_says_what_allows_them(user):
    forbidding = (sys.executable, "-c", _FORBID, *_become())

    done = user.podnet("node", "create", "lab", status=7, env=_as(user), through=forbidding)

    assert "user.max_user_namespaces=0" in done.stderr
    assert "sudo sysctl -w user.max_user_namespaces" in done.stderr


def test_a_home_below_var_lib_is_still_there(user):
    home = Path("/var/lib/somebody")

    def move_in() -> None:
        shutil.copytree(EXAMPLE, home / "repository")
        for path in (home, *home.rglob("*")):
            os.chown(path, USER, USER)

    user.podnet.node.run(move_in)
    at_home = replace(user, home=home)
    repository = home / "repository"

    options = ("--plugin-dir", repository / "plugins", "--network", repository / "note.conflist")
    at_home("create", "web", *options)

    assert "made by link-note" in at_home("exec", "web", "--", "ip", "link").stdout
    at_home("delete", "web")


def test_what_only_reads_makes_nothing(user):
    user("networks")
    user("create", "--help")

    assert list(user.runtime.iterdir()) == []
    assert list(user.home.iterdir()) == []


def test_a_program_becomes_root_of_a_machine_in_memory(user):
    script = (
        "import os, shutil, subprocess\n"
        "from podnet import rootless\n"
        "from podnet.node import Node\n"
        "rootless.become_root()\n"
        "assert shutil.which('nft'), os.environ['PATH']\n"
        "with Node.in_memory('n1') as node:\n"
        "    print(node.run(subprocess.check_output, ['ip', '-br', 'link'], text=True))\n"
    )
    done = user.podnet.node.run(
        subprocess.run,
        [*_become(), sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=user.podnet.environment | _as(user) | {"PATH": "/usr/bin:/bin"},
        check=False,
        timeout=_PATIENCE,
    )

    assert done.stdout.startswith("lo"), done.stderr


def _pytest(user: User, directory: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run pytest as the user, in *directory*."""
    kept = {k: v for k, v in user.podnet.environment.items() if k not in {"USER", "LOGNAME"}}
    own = {"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(user.home)}
    environment = kept | _as(user) | own
    done: subprocess.CompletedProcess[str] = user.podnet.node.run(
        subprocess.run,
        [*_become(), sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
        capture_output=True,
        text=True,
        env=environment,
        cwd=directory,
        check=False,
        timeout=_PATIENCE,
    )
    return done


def test_the_tests_of_the_example_pass_without_root_and_by_several_workers(user):
    directory = Path(shutil.copytree(EXAMPLE, user.home / "repository"))

    done = _pytest(user, directory, "-q", "-n", "2")

    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert (user.home / f"pytest-of-user-{USER}").is_dir()


def test_a_new_plugin_s_test_passes_without_root(user):
    user("plugins", "new", "service-ip", user.home / "new")

    done = _pytest(user, user.home / "new", "-q")

    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_pytest_becomes_root_only_when_a_test_wants_a_node(user):
    suite = user.home / "test_suite.py"
    suite.write_text("import os\ndef test_nobody(): assert os.geteuid() != 0\n")
    assert "1 passed" in _pytest(user, user.home).stdout

    suite.write_text("import os\ndef test_root(podnet_node): assert os.geteuid() == 0\n")
    assert "1 passed" in _pytest(user, user.home).stdout


def test_workers_that_were_not_born_as_root_say_what_to_do(user):
    (user.home / "test_suite.py").write_text("def test_root(podnet_node): pass\n")

    done = _pytest(user, user.home, "-n", "1", "-rs")

    assert "1 skipped" in done.stdout, done.stdout
    assert "--podnet-rootless" in done.stdout


def test_scenarios_run_with_their_faults_of_disks_and_their_reboots(user, tmp_path):
    scenario = user.home / "scenario.yaml"
    scenario.write_text(
        "networks:\n"
        "  - {cniVersion: 1.0.0, name: net, plugins: [{type: noop}]}\n"
        "steps:\n"
        "  - fault: disk-full=/var/lib\n"
        "  - create: {pod: web}\n"
        "    expect: {message: No space left, cause: disk-full}\n"
        "  - heal: all\n"
        "  - fault: noop:ADD:kill-after\n"
        "  - create: {pod: web}\n"
        "    expect: {fails: true, cause: killed, leaks: []}\n"
        "  - heal: all\n"
        "  - create: {pod: web}\n"
        "  - reboot: {}\n"
        "  - gc: {}\n"
        "    expect: {leaks: [], pods: {web: absent}}\n"
    )
    scenario.chmod(0o644)
    assert "1 of 1 as expected" in user("run", scenario).stderr


def test_plugins_are_held_against_the_spec(user: User) -> None:
    cases = "del-leaves-nothing,check-rules-are-gone,parallel-add,kill-then-add,env-any-directory"
    found = user.json("conformance", "bridge", "--case", cases)["items"]
    assert {item["name"]: item["verdict"] for item in found} == dict.fromkeys(
        cases.split(","), "passed"
    )
