"""podnet as users install it: a wheel in an environment of its own."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with podnet's wheel in it; its dependencies are the test environment's."""
    directory = tmp_path_factory.mktemp("wheel")
    _run("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", directory, ROOT)
    (wheel,) = directory.glob("*.whl")
    environment = directory / "env"
    _run("-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    _run("-m", "pip", "--python", python, "install", "-q", "--no-deps", wheel)
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    # nsenter brings a pathlib of Python 2, which lies beside podnet where pip installs it.
    (site / "pathlib.py").write_text("raise ImportError('the wrong pathlib')")
    return environment


def _run(*arguments: object) -> str:
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


def _podnet(environment: Path, *arguments: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CNI_", "NETCONF", "PODNET"))}
    command = [str(environment / "bin" / "podnet"), *arguments]
    done = subprocess.run(command, cwd="/", env=clean, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_wheel_brings_its_plugins_as_executables(installed: Path) -> None:
    found = json.loads(_podnet(installed, "plugins", "-o", "json"))["items"]

    assert {item["name"] for item in found} >= {"bridge", "host-local", "loopback"}
    for item in found:
        assert item["path"].startswith(str(installed))
        assert "1.1.0" in item["versions"]


def test_the_wheel_brings_its_example_networks(installed: Path, tmp_path: Path) -> None:
    if Path("/etc/cni/net.d").is_dir():
        pytest.skip("/etc/cni/net.d exists here, and comes before the examples")

    found = json.loads(_podnet(installed, "networks", "-o", "json"))["items"]

    assert found[0]["name"] == "podnet"
    assert found[0]["file"].startswith(str(installed))
    assert found[0]["missing"] == []


def test_a_plugin_started_by_hand_says_what_it_is(installed: Path) -> None:
    (bridge,) = installed.glob("lib/python*/site-packages/podnet_plugins/bin/bridge")
    clean = {k: v for k, v in os.environ.items() if not k.startswith("CNI_")}

    done = subprocess.run([bridge], env=clean, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("CNI bridge plugin")


def test_a_new_plugin_finds_podnet_where_it_is_installed(installed: Path, tmp_path: Path) -> None:
    plugin, *_ = _podnet(installed, "plugins", "new", "mine", str(tmp_path)).splitlines()

    done = subprocess.run(
        [plugin, "--describe"], cwd="/", env={}, capture_output=True, text=True, check=True
    )

    assert Path(plugin).read_text().startswith(f"#!{installed}/bin/python")
    assert json.loads(done.stdout)["type"] == "mine"


def test_the_wheel_brings_its_scenarios(installed: Path) -> None:
    assert "leak-reboot" in _podnet(installed, "run", "--list", "-o", "name").split()
