"""What the lease store in etcd promises besides: flannel's bytes, fencing, outages, access."""

import select
import socket
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Any, cast

import pytest
from tests.manager.stores import told

from podnet.cni.wire import Fields
from podnet.errors import UsageError
from podnet_manager.access import Access
from podnet_manager.acquire import Claimant, acquire
from podnet_manager.bell import Bell
from podnet_manager.etcd import Watch
from podnet_manager.etcd_wire import Entries
from podnet_manager.gateway_answer import Stream
from podnet_manager.lease import Attributes, Subnets
from podnet_manager.netconf import parse
from podnet_manager.store import Change, CompactedError, StoreError
from podnet_manager.store_etcd import EtcdStore

pytestmark = pytest.mark.root

LONG = 60.0
PATIENCE = 20.0
HOUR = 3600.0
PREFIX = "/coreos.com/network"
FLANNEL = {"user": "flannel", "password": "secret"}
HERE = Subnets(IPv4Network("10.5.49.0/24"))
OURS = Attributes(public_ip=IPv4Address("10.99.0.1"), backend_type="host-gw")
THEIRS = Attributes(public_ip=IPv4Address("10.99.0.2"), backend_type="host-gw")


def text(value: str) -> str:
    return b64encode(value.encode()).decode()


def raw(server: Any, prefix: str = f"{PREFIX}/subnets/") -> Any:
    """Return the keys below a prefix as etcd has them."""
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return server.ask("/v3/kv/range", {"key": text(prefix), "range_end": text(end)}).get("kvs", [])


def put(server: Any, key: str, value: str, lease: str = "0") -> None:
    """Write a key as flannel would."""
    body = {"key": text(f"{PREFIX}/{key}"), "value": text(value), "lease": lease}
    assert "header" in server.ask("/v3/kv/put", body)


def vtep(mac: str, vni: int = 1) -> dict[str, object]:
    return {"VNI": vni, "VtepMAC": mac}


WRITTEN = {
    "vxlan": (
        "10.5.49.0-24",
        Attributes(
            public_ip=IPv4Address("10.99.0.1"),
            backend_type="vxlan",
            data=vtep("86:b9:6b:d1:29:7c"),
        ),
        (
            '{"PublicIP":"10.99.0.1","PublicIPv6":null,"BackendType":"vxlan",'
            '"BackendData":{"VNI":1,"VtepMAC":"86:b9:6b:d1:29:7c"}}'
        ),
    ),
    "host-gw": (
        "10.5.49.0-24",
        OURS,
        '{"PublicIP":"10.99.0.1","PublicIPv6":null,"BackendType":"host-gw"}',
    ),
    "alloc": (
        "10.5.49.0-24",
        Attributes(public_ip=IPv4Address("10.99.0.1")),
        '{"PublicIP":"10.99.0.1","PublicIPv6":null}',
    ),
    "dual stack": (
        "10.5.21.0-24&fd00:5:0:55::-64",
        Attributes(
            public_ip=IPv4Address("10.99.0.1"),
            public_ipv6=IPv6Address("fd99::1"),
            backend_type="vxlan",
            data=vtep("86:b9:6b:d1:29:7c", 7),
            v6_data=vtep("6e:b9:6b:d1:29:7d", 7),
        ),
        (
            '{"PublicIP":"10.99.0.1","PublicIPv6":"fd99::1","BackendType":"vxlan",'
            '"BackendData":{"VNI":7,"VtepMAC":"86:b9:6b:d1:29:7c"},'
            '"BackendV6Data":{"VNI":7,"VtepMAC":"6e:b9:6b:d1:29:7d"}}'
        ),
    ),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_is_written_is_flannel_s_byte_for_byte(shared_server, kind):
    key, attributes, value = WRITTEN[kind]
    store = shared_server.store()

    lease = store.create(Subnets.from_key(key), attributes, ttl=86400)

    (kv,) = raw(shared_server)
    assert b64decode(kv["key"]).decode() == f"/coreos.com/network/subnets/{key}"
    assert b64decode(kv["value"]).decode() == value
    assert kv["lease"] == lease.hold
    left = shared_server.ask("/v3/lease/timetolive", {"ID": kv["lease"], "keys": True})
    assert left["grantedTTL"] == "86400"
    assert left["keys"] == [kv["key"]]
    assert store.delete(lease)
    assert shared_server.ask("/v3/lease/timetolive", {"ID": kv["lease"]})["TTL"] == "-1"


def test_a_configuration_is_where_flannel_looks_for_it(server):
    store = server.store("/other/")
    text_ = '{"Network":"10.5.0.0/16"}'

    store.set_config(text_.encode())

    (kv,) = raw(server, "/other/")
    assert (b64decode(kv["key"]), b64decode(kv["value"])) == (b"/other/config", text_.encode())


def test_what_flannel_wrote_is_read_and_what_is_no_lease_is_nobody_s(server):
    store = server.store()
    since = store.snapshot().revision
    hold = server.ask("/v3/lease/grant", {"TTL": "86400"})["ID"]
    for key, _, value in (WRITTEN["vxlan"], WRITTEN["dual stack"]):
        put(server, f"subnets/{key}", value, lease=hold)
    put(server, "subnets/10.5.7.0-24", WRITTEN["host-gw"][2])
    put(server, "subnets/nonsense", WRITTEN["host-gw"][2])
    put(server, "subnets/10.5.8.0-24", "nonsense")
    put(server, "subnetsque", "nonsense")

    leases = {lease.subnets.key: lease for lease in store.snapshot().leases}

    assert {key: lease.attributes for key, lease in leases.items()} == {
        "10.5.7.0-24": OURS,
        WRITTEN["vxlan"][0]: WRITTEN["vxlan"][1],
        WRITTEN["dual stack"][0]: WRITTEN["dual stack"][1],
    }
    assert [lease.hold for lease in leases.values() if not lease.is_reservation] == [hold] * 2
    changes, _ = told(store, since, 4)
    assert [change.lease for change in changes] == [
        leases[WRITTEN["vxlan"][0]],
        leases[WRITTEN["dual stack"][0]],
        leases["10.5.7.0-24"],
        None,
    ]


def test_a_renewal_writes_nothing(server):
    """Each Put of flannel's makes every peer program its routes again."""
    store = server.store()
    lease = store.create(HERE, OURS, ttl=LONG)
    before = raw(server)
    time.sleep(1.5)

    renewed = store.renew(lease, ttl=LONG)

    assert raw(server) == before
    left = server.ask("/v3/lease/timetolive", {"ID": lease.hold})
    assert int(left["TTL"]) >= LONG - 1
    assert renewed.expires > lease.expires + 1.0
    assert server.served("LeaseGrant") == 1


def test_a_lease_that_somebody_else_put_again_is_not_ours_any_more(server):
    """As flanneld does when it is given the public address of this Node."""
    store = server.store()
    lease = store.create(HERE, OURS, ttl=LONG)
    hold = server.ask("/v3/lease/grant", {"TTL": "86400"})["ID"]
    put(server, f"subnets/{HERE.key}", WRITTEN["host-gw"][2], lease=hold)

    assert store.renew(lease, ttl=LONG) is None
    assert store.update(lease, THEIRS, ttl=LONG) is None
    assert not store.delete(lease)
    (now,) = store.snapshot().leases
    assert store.renew(now, ttl=LONG).expires > time.time() + 86000


def test_who_does_not_get_a_lease_leaves_none_behind(server):
    store = server.store()
    store.create(HERE, OURS, ttl=LONG)

    assert store.create(HERE, THEIRS, ttl=LONG) is None

    assert len(server.ask("/v3/lease/leases", {})["leases"]) == 1


def test_ten_nodes_that_start_at_once_get_a_subnet_each(server):
    """Of flannel's, three of ten exit."""
    conf = parse(b'{"Network":"10.5.0.0/20","SubnetLen":24,"Backend":{"Type":"host-gw"}}')
    stores = [server.store() for _ in range(10)]
    start = threading.Barrier(10)

    def join(number):
        who = Attributes(public_ip=IPv4Address(f"10.99.0.{number + 1}"), backend_type="host-gw")
        start.wait()
        return acquire(stores[number], conf, Claimant(attributes=who), ttl=LONG)

    with ThreadPoolExecutor(10) as pool:
        got = list(pool.map(join, range(10)))

    assert len({lease.subnets for lease in got}) == 10
    leases = stores[0].snapshot().leases
    assert {(lease.subnets, lease.attributes.public_ip) for lease in leases} == {
        (lease.subnets, lease.attributes.public_ip) for lease in got
    }


def test_a_snapshot_is_one_request_for_every_ten_thousand_leases(server):
    """Flannel's is one for each."""
    keys = [f"10.{i >> 8}.{i & 255}.0-24" for i in range(12_000)]
    for start in range(0, len(keys), 100):
        puts = [
            {"request_put": {"key": text(f"{PREFIX}/subnets/{key}"), "value": text("{}")}}
            for key in keys[start : start + 100]
        ]
        server.ask("/v3/kv/txn", {"success": puts})
    store = server.store()
    before = server.served("Range")

    leases = store.snapshot().leases

    assert {lease.subnets.key for lease in leases} == set(keys)
    assert len(leases) == len(keys)
    assert server.served("Range") - before == 2
    assert server.served("LeaseTimeToLive") == 0


def test_many_changes_are_one_watch(server):
    store, other = server.store(), server.store()
    since = store.snapshot().revision

    for number in range(5):
        other.create(Subnets(IPv4Network(f"10.5.{number}.0/24")), OURS, ttl=LONG)
        _, since = told(store, since, 1)

    assert server.served("Watch") == 1


def test_what_is_too_large_for_one_message_comes_in_fragments(etcd_node, servers):
    server = servers(etcd_node, options=("--max-request-bytes", "1000"))
    store = server.store()
    since = store.snapshot().revision
    keys = [f"10.5.{number}.0-24" for number in range(50)]
    for start in range(0, 50, 5):
        ops = [
            {"request_put": {"key": text(f"{PREFIX}/subnets/{key}"), "value": text("{}")}}
            for key in keys[start : start + 5]
        ]
        server.ask("/v3/kv/txn", {"success": ops})

    changes, revision = told(store, since, 50)

    assert [change.subnets.key for change in changes] == keys
    assert revision == since + 10


class Told:
    """A stream that says what it is told to."""

    def __init__(self, *messages: dict[str, object]) -> None:
        self.messages = list(messages)

    def read(self, *, deadline: float) -> Fields | None:
        """Return the next message."""
        return Fields(self.messages.pop(0)) if self.messages else None


def test_a_watch_that_is_idle_moves_on_and_never_into_the_middle_of_a_revision():
    """Debian's etcd tells of its progress every ten minutes, which is too long for a test."""

    def event(key: str) -> dict[str, object]:
        return {"kv": {"key": text(key), "mod_revision": "7"}}

    header = {"revision": "9"}
    watch = Watch(
        cast(
            "Stream",
            Told(
                {"header": header, "events": [event("a")], "fragment": True},
                {"header": header, "events": [event("b")]},
                {"header": header},
                {"header": header, "events": [event("c")], "fragment": True},
            ),
        )
    )

    both, progress = watch.read(deadline=0), watch.read(deadline=0)

    assert both is not None
    assert (both.revision, [entry.key for entry in both.entries]) == (7, [b"a", b"b"])
    assert progress == Entries(9, ())
    assert watch.read(deadline=0) is None


def test_who_missed_a_compaction_is_told(server):
    store = server.store()
    since = store.snapshot().revision
    for attributes in (OURS, THEIRS):
        store.reserve(HERE, attributes)
    now = store.snapshot().revision
    watching = server.store()
    assert watching.changes(now, patience=0.5).changes == ()
    server.ask("/v3/kv/compaction", {"revision": str(now)})

    with pytest.raises(CompactedError, match=f"before revision {now}"):
        store.changes(since, patience=PATIENCE)

    assert store.changes(now, patience=0.3).changes == ()
    store.reserve(HERE, OURS)
    for each in (store, watching):
        changes, _ = told(each, now, 1)
        assert changes[0].lease.attributes == OURS


def test_a_watch_outlives_etcd(server):
    store, other = server.store(), server.store()
    lease = store.create(HERE, OURS, ttl=LONG)
    here = store.changes(lease.revision, patience=0.3)

    def restart():
        server.kill()
        time.sleep(0.5)
        server.start()
        return other.create(Subnets(IPv4Network("10.5.50.0/24")), THEIRS, ttl=LONG)

    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(restart)
        changes, _ = told(store, here.revision, 1)
        second = started.result()

    assert [change.lease.attributes for change in changes] == [THEIRS]
    assert changes[0].lease.revision == second.revision
    assert store.renew(lease, ttl=LONG) is not None


def test_an_outage_is_a_failure_that_names_endpoint_and_reason(server):
    waiting = server.store(timeout=0.5)
    lease = waiting.create(HERE, OURS, ttl=LONG)
    waiting.changes(lease.revision, patience=0.2)
    server.kill()

    for act in (
        waiting.snapshot,
        waiting.config,
        lambda: waiting.create(HERE, OURS, ttl=LONG),
        lambda: waiting.renew(lease, ttl=LONG),
        lambda: waiting.update(lease, OURS, ttl=LONG),
        lambda: waiting.delete(lease),
        lambda: waiting.changes(lease.revision, patience=PATIENCE),
    ):
        with pytest.raises(StoreError, match=r"127.0.0.1:2379: .*Connection refused"):
            act()


def test_who_is_cancelled_during_an_outage_need_not_wait(server):
    store = server.store(timeout=HOUR)
    revision = store.snapshot().revision
    server.kill()
    enough = Bell()
    threading.Timer(0.2, enough.ring).start()

    assert store.changes(revision, patience=HOUR, cancelled=enough).changes == ()


def test_an_endpoint_that_does_not_answer_is_left_for_the_next_one(server):
    refusing = "http://127.0.0.1:9"
    with server.node.run(silence) as silent:
        port = silent.getsockname()[1]
        store = server.store(
            endpoints=(f"http://127.0.0.1:{port}", refusing, server.url), timeout=3.0
        )

        lease = store.create(HERE, OURS, ttl=LONG)

        assert [seen.revision for seen in store.snapshot().leases] == [lease.revision]
        assert told(store, lease.revision - 1, 1)[0][0].lease.revision == lease.revision


def silence() -> socket.socket:
    """Return a socket that takes connections and says nothing."""
    return socket.create_server(("127.0.0.1", 0))


@contextmanager
def listening(server: Any, serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Listen in the server's Node, and *serve* each connection; give the URL."""

    def listen(here: socket.socket, pool: ThreadPoolExecutor) -> None:
        with suppress(OSError):
            while True:
                pool.submit(serve, here.accept()[0])

    with server.node.run(silence) as here, ThreadPoolExecutor(8) as pool:
        pool.submit(listen, here, pool)
        try:
            yield f"http://127.0.0.1:{here.getsockname()[1]}"
        finally:
            server.close_stores()
            here.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        ("200 OK", "<html>", "not valid JSON"),
        ("200 OK", '{"header":7}', "header must be an object"),
        ("200 OK", '{"header":{"revision":"x"}}', "header.revision is no number"),
        ("200 OK", '{"kvs":[{"key":"!7!!"}]}', "is not base64"),
        ("400 no", '{"message":"go away","code":3}', "go away"),
        ("503 no", "", "HTTP status 503"),
        ("200 OK\r\nContent-Length: 7", "<", "hung up"),
        ("perhaps", "", "speaks no HTTP"),
    ],
)
def test_what_speaks_no_etcd_is_a_failure_of_the_store(server, status, body, reason):
    """A proxy, or somebody else's server on that port."""
    length = "" if "Length" in status else f"\r\nContent-Length: {len(body)}"

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            connection.sendall(f"HTTP/1.1 {status}{length}\r\n\r\n{body}".encode())

    with (
        listening(server, serve) as url,
        pytest.raises(StoreError, match=f"etcd.*{url}.*{reason}"),
    ):
        server.store(endpoints=(url,), timeout=0.5).snapshot()


def test_a_change_whose_answer_got_lost_is_known_again(server):
    """The request is sent again, and must not find that somebody, itself, was faster."""
    with lossy(server) as (url, lose):
        store = server.store(endpoints=(url,))

        lose(b"/v3/kv/txn")
        lease = store.create(HERE, OURS, ttl=LONG)
        assert lease is not None
        lose(b"/v3/kv/txn")
        updated = store.update(lease, THEIRS, ttl=LONG)

    assert updated.revision == lease.revision + 1
    (kv,) = raw(server)
    assert (kv["mod_revision"], kv["version"]) == (str(updated.revision), "2")


def test_who_finds_nobody_asks_less_and_less_often(server):
    """Flannel's clients have filled disks with attempts (its issue 2470)."""
    attempts: list[int] = []

    def hang_up(connection: socket.socket) -> None:
        with connection:
            attempts.append(1)

    with listening(server, hang_up) as url, pytest.raises(StoreError, match="does not answer"):
        server.store(endpoints=(url,), timeout=1.0).snapshot()

    # Pauses of 50 ms and twice as much each time, by chance at most halved: seven in a second.
    assert 2 <= len(attempts) <= 7


def test_who_took_a_lease_is_said_beside_it_for_as_long_as_it_lives(server):
    """Two Nodes with one public address are one to flannel; its own keys and values stay its own."""
    ours, theirs = server.store(holder="a"), server.store(holder="b")

    lease = ours.create(HERE, OURS, ttl=LONG)

    assert theirs.holder(theirs.snapshot().leases[0]) == "a"
    assert [b64decode(kv["key"]).decode() for kv in raw(server)] == [f"{PREFIX}/subnets/{HERE.key}"]
    updated = theirs.update(lease, THEIRS, ttl=LONG)
    assert ours.holder(updated) == "b"
    hold = server.ask("/v3/lease/grant", {"TTL": "86400"})["ID"]
    put(server, f"subnets/{HERE.key}", WRITTEN["host-gw"][2], lease=hold)
    assert ours.holder(ours.snapshot().leases[0]) == ""  # of a flanneld's
    server.ask("/v3/lease/revoke", {"ID": updated.hold})
    assert raw(server, f"{PREFIX}/podnet/") == []


@contextmanager
def lossy(server: Any) -> Iterator[tuple[str, Callable[[bytes], None]]]:
    """Give a way to etcd that loses the answer to a request, once, when it is told to."""
    wanted: list[bytes] = []

    def serve(near: socket.socket) -> None:
        with near, server.node.run(socket.create_connection, ("127.0.0.1", server.port)) as far:
            while request := near.recv(65536):
                far.sendall(request)
                time.sleep(0.02)
                while select.select([near], [], [], 0)[0] and (more := near.recv(65536)):
                    request += more
                    far.sendall(more)
                answer = far.recv(65536)
                if wanted and wanted[0] in request:
                    wanted.clear()
                    return
                near.sendall(answer)

    with listening(server, serve) as url:
        yield url, wanted.append
    assert not wanted


def test_a_cluster_is_used_as_long_as_most_of_it_lives(etcd_node, servers):
    ports = (2379, 2389, 2399)
    cluster = ",".join(f"m{port}=http://127.0.0.1:{port + 1}" for port in ports)
    members = [servers(etcd_node, port=port, cluster=cluster) for port in ports]
    urls = tuple(member.url for member in members)
    # What a member is asked during an election it lets fall, and says so 5 s later; we ask again.
    store = members[0].store(endpoints=urls, timeout=6.0)
    other = members[0].store(endpoints=urls[::-1], timeout=6.0)
    lease = store.create(HERE, OURS, ttl=LONG)
    assert store.changes(lease.revision, patience=0.5).changes == ()

    members[0].kill()
    second = other.create(Subnets(IPv4Network("10.5.50.0/24")), THEIRS, ttl=LONG)
    changes, now = told(store, lease.revision, 1)
    assert changes[0].lease.revision == second.revision
    assert store.renew(lease, ttl=LONG) is not None

    # One of three knows that it does not know, and its watch must not just be silent.
    lonely = members[1].store(timeout=1.0)
    assert lonely.changes(now, patience=0.5).changes == ()
    members[2].kill()
    with pytest.raises(StoreError, match="2389"):
        lonely.changes(now, patience=PATIENCE)
    with pytest.raises(StoreError, match="2389"):
        lonely.create(Subnets(IPv4Network("10.5.51.0/24")), THEIRS, ttl=LONG)


def test_authentication_with_tokens_that_run_out(etcd_node, servers):
    server = servers(etcd_node, options=("--auth-token-ttl", "1"))
    assert server.store().config() is None  # it is up
    server.enable_authentication()
    store, watching = server.store(**FLANNEL), server.store(**FLANNEL)
    lease = store.create(HERE, OURS, ttl=LONG)
    since = lease.revision
    assert watching.changes(since, patience=0.3).changes == ()

    time.sleep(2.5)  # a token lives for one second

    assert store.renew(lease, ttl=LONG) is not None
    updated = store.update(lease, THEIRS, ttl=LONG)
    changes, since = told(watching, since, 1)
    assert changes[0].lease.revision == updated.revision
    server.kill()
    server.start()
    assert store.delete(updated)
    time.sleep(2.5)  # it knows the tokens again, from its log, and lets them run out again
    assert told(watching, since, 1)[0] == [Change(HERE, None)]


def test_who_has_no_rights_is_told_so(etcd_node, servers):
    server = servers(etcd_node)
    with pytest.raises(StoreError, match="authentication is not enabled"):
        server.store(**FLANNEL).snapshot()
    server.enable_authentication()

    with pytest.raises(StoreError, match="user name is empty"):
        server.store().snapshot()
    with pytest.raises(StoreError, match="authentication failed"):
        server.store(**FLANNEL | {"password": "wrong"}).snapshot()
    with pytest.raises(StoreError, match="permission denied"):
        server.store("/elsewhere", **FLANNEL).snapshot()
    with pytest.raises(StoreError, match="permission denied"):
        server.store("/elsewhere", **FLANNEL).changes(1, patience=1.0)


def test_tls_both_ways(etcd_node, servers, certificates):
    server = servers(
        etcd_node,
        scheme="https",
        options=(
            "--client-cert-auth",
            f"--cert-file={certificates / 'server.crt'}",
            f"--key-file={certificates / 'server.key'}",
            f"--trusted-ca-file={certificates / 'ca.crt'}",
        ),
    )
    ca = certificates / "ca.crt"
    cert, key = certificates / "client.crt", certificates / "client.key"
    store = server.store(ca=ca, cert=cert, key=key)

    lease = store.create(HERE, OURS, ttl=LONG)

    assert store.changes(lease.revision, patience=0.3).changes == ()
    updated = store.update(lease, THEIRS, ttl=LONG)
    changes, _ = told(store, lease.revision, 1)
    assert changes[0].lease.revision == updated.revision
    for wrong, reason in (
        ({"cert": cert, "key": key}, "certificate verify failed"),
        ({"ca": ca}, "127.0.0.1:2379: .*(certificate required|bad certificate|reset by peer)"),
        ({"endpoints": ("http://127.0.0.1:2379",)}, "127.0.0.1:2379: "),
    ):
        with pytest.raises(StoreError, match=reason):
            server.store(timeout=0.5, **wrong).snapshot()


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:2379",
        "ftp://127.0.0.1",
        "http://",
        "http://h:x",
        "http://h/path",
        "http://u@h",
        "http://a..b",
    ],
)
def test_an_endpoint_that_is_none_is_refused(url):
    with pytest.raises(UsageError, match="is no endpoint"):
        EtcdStore(Access(endpoints=(url,)))


def test_files_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"ca\.crt"):
        EtcdStore(Access(endpoints=("https://[::1]:2379",), ca=tmp_path / "ca.crt"))
    with pytest.raises(UsageError, match="no endpoint"):
        EtcdStore(Access(endpoints=()))
