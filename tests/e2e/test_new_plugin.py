"""A plugin of one's own: written by `podnet plugins new`, or typed in from the README."""

import errno
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from podnet import scaffold

pytestmark = pytest.mark.root

ROOT = Path(__file__).parent.parent.parent
NAME = "service-ip"


def _typed_from_readme(directory: Path) -> Path:
    """Type the README's plugin into a file, with podnet's Python in its first line."""
    [block] = re.findall(
        rf'```python\n(#![^`]*"""{NAME}:.*?)```', (ROOT / "README.md").read_text(), re.DOTALL
    )
    plugin = directory / NAME
    directory.mkdir(exist_ok=True)
    plugin.write_text(f"#!{sys.executable}\n{block.partition(chr(10))[2]}")
    plugin.chmod(0o755)
    return plugin


def _answers(address: str) -> bool:
    """Tell whether somebody is there: a refused connection is an answer."""
    with socket.socket() as client:
        client.settimeout(2)
        return client.connect_ex((address, 9)) == errno.ECONNREFUSED


@pytest.fixture(params=["typed from the README", "written by podnet"])
def plugin(request, tmp_path, podnet):
    """The plugin, in a directory of its own."""
    directory = tmp_path / "mine"
    if request.param == "written by podnet":
        podnet("plugins", "new", NAME, directory)
        return directory / NAME
    return _typed_from_readme(directory)


def test_a_new_plugin_works_in_a_chain_at_once(podnet, plugin, conflist, sh, node):
    pool = {"type": "host-local", "ranges": [[{"subnet": "10.66.0.0/24"}]]}
    path = conflist("n", {"type": "ptp", "ipam": pool}, {"type": NAME, "address": "192.0.2.9/32"})
    mine = ("--plugin-dir", str(plugin.parent))

    [listed] = [i for i in podnet.json(*mine, "plugins")["items"] if i["name"] == NAME]
    assert (listed["path"], listed["versions"][-1]) == (str(plugin), "1.1.0")
    assert podnet(*mine, "lint", path).stdout == ""

    podnet(*mine, "create", "web")
    assert "192.0.2.9/32" in podnet("exec", "web", "--", "ip", "addr", "show", "lo").stdout
    sh("ip route add 192.0.2.9/32 via 10.66.0.2")
    assert node.run(_answers, "192.0.2.9")
    podnet("check", "web")
    podnet("exec", "web", "--", "ip", "addr", "del", "192.0.2.9/32", "dev", "lo")
    assert "lo has lost the address 192.0.2.9/32" in podnet("check", "web", status=4).stderr
    podnet("delete", "web")


def test_it_is_described_and_linted_by_its_own_declaration(podnet, plugin, conflist):
    mine = ("--plugin-dir", str(plugin.parent))
    bridge = {"type": "bridge", "ipam": {"type": "host-local", "subnet": "10.66.0.0/24"}}
    path = conflist("n", bridge, {"type": NAME, "ADDRESS": 5, "adress": "192.0.2.9/32"})
    alone = conflist("alone", {"type": NAME, "address": "192.0.2.9/32"})

    told = podnet(*mine, "plugins", "describe", NAME).stdout
    row = next(line for line in told.splitlines() if line.startswith("address"))
    assert row.split()[:3] == ["address", "string", "required"]
    wrong, unknown = podnet.json(*mine, "lint", path, status=2)["items"]
    assert wrong["message"] == f"{NAME}: ADDRESS must be a string, not 5"
    assert unknown["hint"] == "did you mean address?"
    lines = path.read_text().splitlines()
    for finding, key in ((wrong, '"ADDRESS"'), (unknown, '"adress"')):
        assert lines[finding["line"] - 1][finding["column"] - 1 :].startswith(key)
    [chained] = podnet.json(*mine, "lint", alone, status=2)["items"]
    assert "must be called as a chained plugin" in chained["message"]


def test_run_by_hand_without_any_environment_it_says_what_it_is(plugin, node):
    done = node.run(
        subprocess.run, [str(plugin)], env={}, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith(f"CNI {NAME} plugin")
    assert "Gives a pod one more address" in done.stderr
    assert "address (string, required)" in done.stderr
    assert "1.1.0" in done.stderr
    assert "CNI_COMMAND=ADD CNI_CONTAINERID=demo" in done.stderr


def test_the_command_line_that_it_shows_works(plugin, node, sh):
    said = node.run(
        subprocess.run, [str(plugin)], env={}, capture_output=True, text=True, check=False
    )
    version, *add = [line for line in said.stderr.splitlines() if line.startswith("  ")][-3:]

    assert json.loads(sh(version))["supportedVersions"][-1] == "1.1.0"
    sh("ip netns add demo")
    assert json.loads(sh("\n".join(add)))["interfaces"][0]["name"] == "eth0"
    assert "192.0.2.1/32" in sh("ip -n demo addr show lo")


def test_its_own_test_passes(podnet, tmp_path):
    podnet("plugins", "new", NAME, tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"]

    done = subprocess.run(
        [*command, str(tmp_path / "test_service_ip.py")],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_new_refuses_to_overwrite_and_writes_nothing(podnet, tmp_path):
    (tmp_path / f"{NAME}.conflist").write_text("mine")

    done = podnet("plugins", "new", NAME, tmp_path, status=2)

    assert f"already there: {tmp_path}/{NAME}.conflist" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}.conflist"]
    assert (tmp_path / f"{NAME}.conflist").read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "", "Upper", "1st", "a b", "-x", "a_b", "x" * 51, "bridge"]
)
def test_new_refuses_names_that_no_plugin_should_have(podnet, tmp_path, name):
    done = podnet("plugins", "new", "--", name, tmp_path / "d", status=2)

    assert "plugin" in done.stderr
    assert not (tmp_path / "d").exists()


def test_what_is_written_is_as_tidy_as_podnet_itself(tmp_path):
    for name, text in scaffold.files(NAME, "/usr/bin/python3").items():
        (tmp_path / (name if "." in name else f"{name}.py")).write_text(text)
    ruff = [str(Path(sys.executable).parent / "ruff"), "check", "--no-cache", "--isolated"]
    rules = ["--select", "E,F,I,B,UP,SIM,D", "--config", "lint.pydocstyle.convention='google'"]
    source = [
        "--config",
        f"src={[str(ROOT / d) for d in ('runtime', 'plugins')]}",
        "--line-length=100",
    ]

    done = subprocess.run(
        [*ruff, *rules, *source, "--ignore", "D103", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"NO_COLOR": "1"},
    )

    assert done.returncode == 0, done.stdout
