"""Faults as words: what reads, what does not, and what the error says to do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podnet.cni.versions import Verb
from podnet.errors import UsageError
from podnet.places import resolve
from podnet.rig import disasters
from podnet.rig.caller import of_plugin
from podnet.rig.faults import KINDS, Fault, Place, Unit, at


def test_a_fault_names_the_plugin_the_verb_the_kind_and_how_much():
    assert Fault.parse("portmap:ADD:slow=2.5") == Fault(
        kind="slow", plugin="portmap", verb=Verb.ADD, value="2.5"
    )
    assert Fault.parse("portmap:kill-after") == Fault(kind="kill-after", plugin="portmap")
    assert Fault.parse("disk-full") == Fault(kind="disk-full", value="/var/lib/cni")


@given(
    kind=st.sampled_from(sorted(KINDS)),
    verb=st.sampled_from([None, *Verb]),
    plugin=st.sampled_from(["bridge", "host-local"]),
)
def test_what_is_written_reads_as_it_was(kind, verb, plugin):
    known = KINDS[kind]
    value = known.default or {Unit.PATH: "/x", Unit.NETWORK: "n"}.get(known.unit, "")
    fault = Fault(
        kind=kind,
        plugin="" if known.place is Place.NODE else plugin,
        verb=verb if known.place is Place.CALL else None,
        value=value,
    )
    assert Fault.parse(str(fault)) == fault


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("portmap:kil-after", "did you mean kill-after"),
        ("portmap:ADD:nonsense", "there is no fault"),
        ("kill", "needs PLUGIN"),
        ("portmap:reboot", "needs no plugin"),
        ("portmap:PUT:kill", "there is no verb PUT"),
        ("portmap:DEL:missing", "has no verb"),
        ("portmap:slow=fast", "is no seconds"),
        ("portmap:exit=0x1", "is no number"),
        ("portmap:kill=9", "takes no value"),
        ("lock-held", "needs a value"),
        ("disk-full=var", "is no path"),
        ("ipam-exhausted=../x", "is no network"),
        ("../x:kill", "the fault ../x:kill"),
        ("", "there is no fault"),
    ],
)
def test_what_makes_no_sense_is_said_with_what_would(text, says):
    with pytest.raises(UsageError) as error:
        Fault.parse(text)
    assert says in str(error.value)


def test_faults_are_told_apart_by_where_they_are():
    every = [Fault.parse(text) for text in ("a:kill", "a:missing", "reboot")]
    assert [str(fault) for fault in at(every, Place.NODE)] == ["reboot"]


def test_a_network_that_is_not_there_is_told_with_those_that_are():
    networks = [of_plugin("bridge", {}, name="net"), of_plugin("bridge", {})]
    with pytest.raises(UsageError, match="no network x") as error:
        disasters.befall(Fault.parse("ipam-exhausted=x"), resolve({}), networks)
    assert error.value.hint == "there are: net, demo"
