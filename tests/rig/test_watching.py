"""Looking at an invocation changes nothing of it, also where nothing can be seen."""

from collections.abc import Iterator

from podnet.cni.versions import Verb
from podnet.errors import MissingError
from podnet.kernel.facts import Fact
from podnet.plan import Invocation
from podnet.rig.picture import NODE, Picture
from podnet.rig.telling import observed
from podnet.rig.watching import Watching
from podnet.testing import FakeExecutor

STEP = Invocation(
    verb=Verb.ADD,
    plugin="mine",
    environment={"CNI_NETNS": "/run/netns/web"},
    stdin={"cniVersion": "1.0.0"},
)
LO = Fact("link", "lo", (), NODE)
CAME = Fact("file", "/run/x", (), NODE)


def test_what_came_between_two_pictures_is_on_the_outcome() -> None:
    pictures: Iterator[Picture] = iter([frozenset({LO}), frozenset({LO, CAME})])
    liar = FakeExecutor({"mine": lambda _: {"interfaces": [{"name": "eth0"}]}})

    outcome = Watching(executor=liar, observe=observed, look=lambda: next(pictures)).run(STEP)

    assert outcome.exit_status == 0
    assert outcome.observed == {
        "changes": [
            {"what": "added", "kind": "file", "key": "/run/x", "where": NODE, "attributes": {}}
        ],
        "untrue": ["interface eth0 is not in the host"],
    }


def test_where_nothing_can_be_seen_the_plugin_is_run_all_the_same() -> None:
    def blind() -> Picture:
        raise MissingError("there is no nft program")

    executor = FakeExecutor({"mine": lambda _: {}})

    outcome = Watching(executor=executor, observe=observed, look=blind).run(STEP)

    assert executor.order == [("ADD", "mine")]
    assert outcome.observed == {"unseen": "there is no nft program"}
