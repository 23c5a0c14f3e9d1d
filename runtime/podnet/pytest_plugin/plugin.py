"""What pytest asks of a plugin: options, markers, and hooks.

The fixtures are in :mod:`podnet.pytest_plugin.fixtures`.  Without root the tests run in a user
namespace of their own (:func:`podnet.rootless.become_root`); pytest enters it only when a test
wants a Node, unless it was asked to do so at its start.
"""

import os
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from podnet.errors import PodnetError, UsageError
from podnet.pytest_plugin import settings, trial
from podnet.pytest_plugin.settings import TITLE, marked

pytest_plugins = ("podnet.pytest_plugin.fixtures",)

_MARKERS = {
    "podnet_requires(*features)": "what the test needs of kernel and system: kinds of links and "
    "queues, programs. Missing: skipped, with the reason; an error with --podnet-strict.",
    "podnet_versions(*versions)": "run the test once for each version of the CNI spec, as "
    "`cni_version`; none named: every released one. What a plugin does not speak is skipped.",
    "podnet_fault(*faults)": "what goes wrong when plugins are called: 'bridge:ADD:kill-after'.",
    "podnet_leakcheck(strict=False, allowed=())": "the test must leave nothing on its Node.",
}
#: Where Python looks for a user's name before it asks whose the ID is.
_NAMES = {"LOGNAME", "USER", "LNAME", "USERNAME"}
#: Markers that are a fixture's business.
_SEEN_TO_BY = {"podnet_requires": "podnet_requirements", "podnet_leakcheck": "leakcheck"}
_CHECKED = {"podnet_requires", "podnet_versions", "podnet_fault", "podnet_leakcheck"}
#: Where the reasons of podnet's refusals are, on the way to them threads.
_INNER = (Path(__file__).parent.parent, Path(threading.__file__).with_name("concurrent"))
#: Without one of these nothing goes wrong by a marker.
_CALLERS = {"cni", "podnet_faults"}
#: Every fixture that needs a Node has this one among those it is made of.
_NEEDS_ROOT = "podnet_privilege"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("podnet", "CNI plugins in Nodes of their own (podnet)")
    add = group.addoption
    add(
        "--cni-bin-dir",
        action="append",
        default=[],
        metavar="DIR",
        help="Where plugins are; before the ini's cni_bin_dir, CNI_PATH and podnet's own. "
        "Repeatable.",
    )
    add("--cni-conf-dir", metavar="DIR", help="Where cni('NAME') finds networks.")
    add(
        "--cni-versions",
        metavar="V,V…",
        help="Only these versions of the spec, of those that tests are marked with.",
    )
    add(
        "--podnet-keep",
        action="store_true",
        help="Keep the Nodes of tests that fail, and print what enters them.",
    )
    add(
        "--podnet-artifacts",
        metavar="DIR",
        help="Write what is known of each test that fails below DIR: transcript, kernel state, "
        "topology.",
    )
    add("--podnet-pcap", action="store_true", help="And the packets on its Nodes.")
    add(
        "--podnet-explain",
        action="store_true",
        help="Show every call of a plugin and what it changed, also of tests that pass.",
    )
    add(
        "--podnet-strict",
        action="store_true",
        help="What kernel or system lack is an error and no skip.",
    )
    add(
        "--podnet-rootless",
        action="store_true",
        help="Without root: enter the user namespace at the start; pytest-xdist needs that.",
    )
    parser.addini(
        "cni_bin_dir", "Where plugins are, relative to the ini.", type="paths", default=[]
    )
    parser.addini("podnet_rootless", "As --podnet-rootless.", type="bool", default=False)
    parser.addini("podnet_strict", "As --podnet-strict.", type="bool", default=False)


def pytest_report_header() -> list[str]:
    """Warn of what makes plugins fail that would work elsewhere."""
    hidden = settings.hidden_nsenter()
    return [f"{TITLE}{hidden}"] if hidden else []


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers; become root at once, if that was asked for."""
    for marker, about in _MARKERS.items():
        config.addinivalue_line("markers", f"{marker}: {about}")
    with _as_usage(""):
        settings.check(config)
    if config.getoption("podnet_explain"):
        config.pluginmanager.register(Teller(config), "podnet-teller")
    if config.getoption("podnet_rootless") or config.getini("podnet_rootless"):
        with _as_usage(""):
            _become_root()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Become root before the first test, if there is one that needs it and it can be done now."""
    wanted = any(_NEEDS_ROOT in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and os.geteuid() != 0 and threading.active_count() == 1:
        with suppress(PodnetError):  # the fixture says why
            _become_root()


def _become_root() -> None:
    from podnet import rootless

    user = os.geteuid()
    if user != 0 and not _NAMES & set(os.environ):
        # pytest's temporary directories bear the user's name, and that of ID 0 is root's.
        os.environ["LOGNAME"] = f"user-{user}"
    rootless.become_root()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that is marked so over versions of the spec."""
    marker = metafunc.definition.get_closest_marker("podnet_versions")
    if marker is None:
        return
    if "cni_version" not in metafunc.fixturenames:
        pytest.fail(f"{metafunc.definition.nodeid}: podnet_versions needs `cni` or `cni_version`")
    from podnet.cni.versions import RELEASED

    chosen = metafunc.config.getoption("cni_versions")
    only = chosen.split(",") if chosen else RELEASED
    asked = [version for version in marker.args or RELEASED if version in only]
    metafunc.parametrize("cni_version", asked)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Check what markers say, and give a marked test the fixtures that see to it."""
    for item in items:
        names = getattr(item, "fixturenames", [])
        for marker, fixture in _SEEN_TO_BY.items():
            if item.get_closest_marker(marker) and fixture not in names:
                names.append(fixture)
        if any(mark.name in _CHECKED for mark in item.iter_markers()):
            with _as_usage(f"{item.nodeid}: "):
                _check_markers(item)


def _check_markers(item: pytest.Item) -> None:
    from podnet.rig import features
    from podnet.rig.faults import Fault

    features.check(marked(item, "podnet_requires"))
    settings.check_versions(marked(item, "podnet_versions"))
    for mark in item.iter_markers("podnet_leakcheck"):
        settings.check_leakcheck(mark)
    faults = list(map(Fault.parse, marked(item, "podnet_fault")))
    if any(fault.kind == "reboot" for fault in faults):
        raise UsageError(
            "podnet_fault reboot: a marker is from the start, when there is nothing to lose",
            'podnet_faults("reboot") in the test: the Node starts again there',
        )
    if faults and not _CALLERS & set(getattr(item, "fixturenames", ())):
        raise UsageError(
            f"podnet_fault {faults[0]}: nobody calls a plugin", "a test that has `cni` does"
        )


@contextmanager
def _as_usage(subject: str) -> Iterator[None]:
    """Let what podnet refuses stop the run, in a sentence."""
    try:
        yield
    except PodnetError as exc:
        raise pytest.UsageError(f"{subject}{exc}") from exc


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell of a test what its plugins were asked and said; keep what it left, if that is asked for."""
    if call.excinfo is not None and not item.config.getoption("fulltrace"):
        hide_refusal(call.excinfo.value)
    report = yield
    failed = report.failed and call.excinfo is not None
    explained = report.when == "call" and item.config.getoption("podnet_explain")
    if explained or (failed and any(trial.of_test(item))):
        from podnet.pytest_plugin import failures

        try:
            report.sections.extend(failures.sections(item, report, failed=failed))
        except Exception as exc:  # noqa: BLE001  from here it would end the whole run
            report.sections.append((f"{TITLE}there is more", f"it cannot be told: {exc!r}"))
    return report


def hide_refusal(error: BaseException) -> None:
    """Cut off how podnet came to refuse something: its sentence is for people, the way there is not."""
    from podnet.cni.errors import CniError

    entry = error.__traceback__ if isinstance(error, PodnetError | CniError) else None
    told = None
    while entry is not None:
        path = Path(entry.tb_frame.f_code.co_filename)
        if not any(path.is_relative_to(inner) for inner in _INNER):
            told = entry
        entry = entry.tb_next
    if told is not None:
        told.tb_next = None


class Teller:
    """Prints the story of tests that pass, which pytest itself does not; see --podnet-explain."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print what is podnet's of a report."""
        printer = self._config.pluginmanager.get_plugin("terminalreporter")
        if printer is None or not report.passed:
            return
        for title, text in report.sections:
            if title.startswith(TITLE):
                printer.write_line(f"\n{report.nodeid}: {title}\n{text}")
