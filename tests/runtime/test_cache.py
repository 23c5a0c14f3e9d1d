"""Results on disk: libcni's format byte for byte, and every way in which a file can be wrong."""

import base64
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from podnet.cache import Cache, CacheError, TakenError
from podnet.cni.config import Network, PluginConfig
from podnet.cni.errors import CniError
from podnet.cni.result import Result
from podnet.errors import PodnetError
from podnet.plan import Attachment

SOURCE = (
    b'{ "cniVersion":"1.0.0",\n "name": "demo", "plugins": [ {"type":"bridge","mtu":1.5e3} ] }\n\n'
)
NETWORK = Network.from_conflist(SOURCE)
WEB = Attachment(
    container_id="c1",
    ifname="eth0",
    netns="/run/netns/web",
    args=(("IgnoreUnknown", "1"), ("K8S_POD_NAME", "web")),
    capability_args={"portMappings": [{"hostPort": 80}]},
)
WIRED = {"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.5/24"}]}
RESULT = Result.from_wire(WIRED)
#: What another libcni runtime would have written of WEB.
LIBCNI = {
    "kind": "cniCacheV1",
    "containerId": "c1",
    "config": base64.b64encode(SOURCE).decode(),
    "ifName": "eth0",
    "networkName": "demo",
    "netns": "/run/netns/web",
    "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAME", "web"]],
    "capabilityArgs": {"portMappings": [{"hostPort": 80}]},
    "result": WIRED,
}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """A cache in a directory that does not exist yet."""
    return Cache(tmp_path / "lib" / "cni")


def put(cache: Cache, content: object, name: str = "demo-c1-eth0") -> Path:
    """Write a file into the cache as somebody else would."""
    path = cache.directory / "results" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def mode(path: Path) -> int:
    """Return the permission bits of *path*."""
    return stat.S_IMODE(path.stat().st_mode)


# --- what is written


def test_the_file_has_exactly_the_keys_that_libcni_reads_and_one_of_ours(cache):
    """From libcni api_test: correct cached config and result; Trap 7."""
    cache.save(NETWORK, WEB, RESULT, path=["/opt/cni/bin"])

    written = json.loads((cache.directory / "results/demo-c1-eth0").read_bytes())
    assert written == LIBCNI | {
        "podnet": {
            "network": {
                "cniVersion": "1.0.0",
                "name": "demo",
                "loadOnlyInlinedPlugins": True,
                "plugins": [{"type": "bridge", "mtu": 1500}],
            },
            "path": ["/opt/cni/bin"],
        }
    }


def test_the_config_is_padded_base64_of_the_original_bytes(cache):
    """From libcni api_test: cached config bytes == sent; Trap 7."""
    source = SOURCE + b" " * (3 - len(SOURCE) % 3 + 1)
    cache.save(replace(NETWORK, source=source), WEB, RESULT)

    written = json.loads((cache.directory / "results/demo-c1-eth0").read_bytes())
    assert written["config"].endswith("=")
    assert base64.b64decode(written["config"], validate=True) == source


def test_empty_fields_are_left_out(cache):
    """From libcni: omitempty; an entry without arguments has no keys for them."""
    cache.save(NETWORK, Attachment(container_id="c1", ifname="eth0"), RESULT)

    written = json.loads((cache.directory / "results/demo-c1-eth0").read_bytes())
    assert {"netns", "cniArgs", "capabilityArgs"}.isdisjoint(written)


def test_files_and_directories_are_the_owners_alone(cache):
    cache.save(NETWORK, WEB, RESULT)

    assert mode(cache.directory / "results/demo-c1-eth0") == 0o600
    assert mode(cache.directory / "results") == 0o700
    assert mode(cache.directory / "drafts") == 0o700
    assert mode(cache.directory) == 0o700


def test_nothing_half_written_is_ever_in_results(cache, monkeypatch):
    """Trap 20: written atomically; readers scan every file in results."""
    seen = []
    fsync = os.fsync

    def look_around(descriptor: int) -> None:
        seen.append(sorted(p.name for p in (cache.directory / "results").iterdir()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", look_around)

    cache.save(NETWORK, WEB, RESULT)
    cache.save(NETWORK, replace(WEB, ifname="eth1"), RESULT)

    assert seen == [[], ["demo-c1-eth0"]]
    assert list((cache.directory / "drafts").iterdir()) == []


def test_a_failed_write_leaves_the_entry_before(cache, monkeypatch):
    """Trap 20: no 0-byte caches after a crash."""
    cache.save(NETWORK, WEB, RESULT)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))

    with pytest.raises(PodnetError, match="cannot write"):
        cache.save(NETWORK, WEB, Result(cni_version="1.0.0"))

    entry = cache.load("demo", WEB)
    assert entry is not None
    assert entry.result == RESULT
    assert list((cache.directory / "drafts").iterdir()) == []


def test_each_interface_has_a_file_of_its_own(cache):
    """From libcni api_test: cache operations, separate files per ifname."""
    cache.save(NETWORK, WEB, RESULT)
    cache.save(NETWORK, replace(WEB, ifname="eth1"), Result(cni_version="1.0.0"))

    assert [e.attachment.ifname for e in cache.entries()] == ["eth0", "eth1"]
    assert sorted(p.name for p in (cache.directory / "results").iterdir()) == [
        "demo-c1-eth0",
        "demo-c1-eth1",
    ]


# --- what is read again


def test_what_was_saved_is_loaded(cache):
    """From libcni api_test: the RuntimeConf is filled from the cache."""
    cache.save(NETWORK, WEB, RESULT, path=("/opt/cni/bin",))

    entry = cache.load("demo", WEB)

    assert entry is not None
    assert (entry.network_name, entry.attachment) == ("demo", WEB)
    assert (entry.config, entry.result, entry.path) == (SOURCE, RESULT, ("/opt/cni/bin",))
    assert entry.by_podnet
    assert list(cache.entries()) == [entry]


def test_the_effective_network_outlives_its_sibling_files(cache):
    """Trap 16: the cached original bytes lack sibling plugins."""
    sibling = PluginConfig.from_wire({"type": "tuning", "sysctl": {}})
    used = replace(NETWORK.with_plugins([sibling]), disable_check=True, disable_gc=True)
    cache.save(used.at_version("0.4.0"), WEB, RESULT)

    entry = cache.load("demo", WEB)

    assert entry is not None
    assert [p.type for p in entry.network.plugins] == ["bridge", "tuning"]
    assert entry.network.cni_version == "0.4.0"
    assert entry.network.disable_check
    assert entry.network.disable_gc
    assert entry.network.source == SOURCE


def test_there_is_no_entry_without_a_file(cache):
    """From libcni api_test: missing cached config is nil, nil."""
    assert cache.load("demo", WEB) is None
    assert list(cache.entries()) == []
    assert list(cache.junk()) == []


def test_an_entry_of_another_runtime_is_read(cache):
    put(cache, LIBCNI)

    entry = cache.load("demo", WEB)

    assert entry is not None
    assert (entry.attachment, entry.result) == (WEB, RESULT)
    assert not entry.by_podnet
    assert entry.network == NETWORK
    assert entry.path == ()


def test_the_cached_config_may_be_a_single_plugins(cache):
    """From libcni api_test: AddNetwork caches the configuration of one plugin."""
    single = b'{"cniVersion":"0.4.0","name":"demo","type":"ptp"}'
    put(cache, LIBCNI | {"config": base64.b64encode(single).decode()})

    entry = cache.load("demo", WEB)

    assert entry is not None
    assert [p.type for p in entry.network.plugins] == ["ptp"]


@pytest.mark.parametrize("config", [b"junk", b"[]", b'{"name":"demo"}', b""])
def test_a_cached_config_that_is_none_is_an_error_when_it_is_needed(cache, config):
    """From libcni api_test: cached config invalid JSON error."""
    put(cache, LIBCNI | {"config": base64.b64encode(config).decode()})

    entry = cache.load("demo", WEB)

    assert entry is not None
    with pytest.raises(CniError):
        _ = entry.network


@pytest.mark.parametrize("result", [..., None])
def test_an_entry_without_a_result_is_an_entry(cache, result):
    content = {k: v for k, v in (LIBCNI | {"result": result}).items() if v != ...}
    put(cache, content)

    entry = cache.load("demo", WEB)

    assert entry is not None
    assert entry.result is None
    assert list(cache.entries()) == [entry]


def test_a_bare_result_is_an_entry_with_nothing_else(cache):
    """From libcni api_test: prevResult from a legacy cache file (before 0.8)."""
    path = put(cache, WIRED)

    entry = cache.load("demo", WEB)

    assert entry is not None
    assert (entry.result, entry.attachment, entry.config) == (RESULT, WEB, b"")
    assert list(cache.entries()) == [], "GC does not see it: it says nothing of whose it is"
    assert list(cache.junk()) == [path]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        b"[]",
        b"null",
        LIBCNI | {"kind": "cniCacheV2"},
        LIBCNI | {"kind": None},
        {k: v for k, v in LIBCNI.items() if k != "kind"},
        LIBCNI | {"config": "no base64!"},
        LIBCNI | {"config": "YQ"},
        LIBCNI | {"cniArgs": {"K": "V"}},
        LIBCNI | {"cniArgs": [["K"]]},
        LIBCNI | {"cniArgs": [["K", 1]]},
        LIBCNI | {"result": []},
        LIBCNI | {"result": {"cniVersion": "9.9.9"}},
        LIBCNI | {"containerId": ""},
        LIBCNI | {"networkName": "../x"},
        LIBCNI | {"ifName": "a/b"},
        LIBCNI | {"podnet": {"network": {"name": "demo"}, "path": 7}},
        {"cniVersion": "9.9.9"},
        {"cniVersion": "1.0.0", "ips": [{"address": "nonsense"}]},
    ],
)
def test_a_broken_file_is_an_error_and_listed_as_junk(cache, content):
    """Traps 7 and 20: one wrong type must not degrade to an empty prevResult."""
    path = put(cache, content)

    with pytest.raises(CacheError, match="is corrupt") as caught:
        cache.load("demo", WEB)

    assert str(path) in caught.value.message
    assert list(cache.entries()) == []
    assert list(cache.junk()) == [path]


def test_extra_members_of_an_argument_are_dropped(cache):
    """From libcni: inner arrays longer than 2 are truncated."""
    put(cache, LIBCNI | {"cniArgs": [["K", "V", "W"]]})

    entry = cache.load("demo", WEB)

    assert entry is not None
    assert entry.attachment.args == (("K", "V"),)


def test_unknown_keys_are_ignored(cache):
    put(cache, LIBCNI | {"containerd": {"anything": 1}})

    assert cache.load("demo", WEB) is not None


def test_a_file_that_cannot_be_read_is_an_error(cache):
    """R9: a missing file is an absence, anything else is not."""
    (cache.directory / "results/demo-c1-eth0").mkdir(parents=True)

    with pytest.raises(CacheError, match="Is a directory"):
        cache.load("demo", WEB)


def test_junk_does_not_hide_the_entries_around_it(cache):
    put(cache, b"", "a")
    put(cache, LIBCNI | {"containerId": "c0"}, "demo-c0-eth0")
    put(cache, b"junk", "demo-c1-eth0")
    put(cache, LIBCNI | {"containerId": "c2"}, "demo-c2-eth0")
    (cache.directory / "results/directory").mkdir()

    assert [e.attachment.container_id for e in cache.entries()] == ["c0", "c2"]
    assert [p.name for p in cache.junk()] == ["a", "demo-c1-eth0"]


# --- two attachments, one name


def test_two_attachments_whose_names_join_alike_are_told_apart(cache):
    """Not covered upstream: filename collision; Trap 20: identity is verified inside the file."""
    first = replace(NETWORK, name="a-b")
    cache.save(first, replace(WEB, container_id="c"), RESULT)
    other = replace(WEB, container_id="b-c")
    assert cache.path("a-b", "c", "eth0") == cache.path("a", "b-c", "eth0")

    with pytest.raises(TakenError, match="belongs to another attachment: network a-b container c"):
        cache.load("a", other)
    with pytest.raises(CacheError, match="it is in the way"):
        cache.reserve(replace(NETWORK, name="a"), other)


def test_forgetting_one_of_them_keeps_the_other(cache):
    """Trap 20: DEL of what was never ADDed must not drop somebody else's result."""
    owner = replace(WEB, container_id="c")
    cache.save(replace(NETWORK, name="a-b"), owner, RESULT)

    cache.forget("a", replace(WEB, container_id="b-c"))

    assert cache.load("a-b", owner) is not None
    cache.forget("a-b", owner)
    assert cache.load("a-b", owner) is None


# --- before the first plugin runs


def test_a_reservation_leaves_nothing_behind(cache):
    cache.reserve(NETWORK, WEB)

    assert list((cache.directory / "results").iterdir()) == []
    assert list((cache.directory / "drafts").iterdir()) == []


def test_an_attachment_that_is_cached_already_is_refused(cache):
    cache.save(NETWORK, WEB, RESULT)

    with pytest.raises(CacheError, match="container c1 already has eth0 on network demo"):
        cache.reserve(NETWORK, WEB)

    cache.reserve(NETWORK, replace(WEB, ifname="eth1"))


def test_a_name_of_more_than_255_bytes_is_refused(cache):
    """Not covered upstream: >255 name; Trap 20."""
    fits = "n" * (255 - len("-c1-eth0"))

    cache.reserve(replace(NETWORK, name=fits), WEB)
    with pytest.raises(CacheError, match="is 1 bytes too long for a file"):
        cache.reserve(replace(NETWORK, name=f"{fits}n"), WEB)

    cache.save(replace(NETWORK, name=fits), WEB, RESULT)
    assert cache.load(fits, WEB) is not None


def test_junk_in_the_way_is_refused_with_its_path(cache):
    path = put(cache, b"junk")

    with pytest.raises(CacheError, match="it is in the way") as caught:
        cache.reserve(NETWORK, WEB)

    assert caught.value.hint == f"remove {path}"


def test_a_cache_directory_that_is_a_file_is_refused(cache):
    """From libcni api_test: cache dir is a file."""
    cache.directory.parent.mkdir(parents=True)
    cache.directory.write_text("")

    with pytest.raises(PodnetError, match="cannot"):
        cache.reserve(NETWORK, WEB)


def test_a_cache_that_cannot_be_written_is_refused(cache, monkeypatch):
    """From libcni api_test: cache dir unwritable, found before any plugin runs."""

    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)

    with pytest.raises(PodnetError, match="No space left on device"):
        cache.reserve(NETWORK, WEB)

    assert list((cache.directory / "drafts").iterdir()) == []


@pytest.mark.parametrize(
    ("network", "container_id", "ifname"),
    [
        ("", "c1", "eth0"),
        ("demo", "", "eth0"),
        ("demo", "c1", ""),
        ("../x", "c1", "eth0"),
        ("demo", "../../x", "eth0"),
        ("demo", "c1", "../x"),
        ("demo", "c1\n", "eth0"),
    ],
)
def test_no_path_is_built_from_a_name_that_is_not_allowed(cache, network, container_id, ifname):
    """From libcni api_test: missing name, cid, ifname errors; Trap 12: traversal."""
    with pytest.raises(CniError):
        cache.path(network, container_id, ifname)


# --- forgetting


def test_forgetting_is_absence_afterwards(cache):
    """From libcni api_test: deletes the cached result and config after the first DEL."""
    cache.save(NETWORK, WEB, RESULT)

    cache.forget("demo", WEB)
    cache.forget("demo", WEB)

    assert cache.load("demo", WEB) is None


@pytest.mark.parametrize("content", [b"", b"junk", LIBCNI | {"kind": "x"}, WIRED])
def test_a_file_that_nobody_can_read_is_forgotten_too(cache, content):
    """From libcni api_test: DEL, invalid cache tolerated, and removed; Trap 6."""
    path = put(cache, content)

    cache.forget("demo", WEB)

    assert not path.exists()
