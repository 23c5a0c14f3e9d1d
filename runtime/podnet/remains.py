"""What is known of an ADD that never came to its end, for the DEL that must undo it.

Some plugins know by prevResult alone what they made (the reference's firewall and its
rules), and a podnet that was killed had not cached one yet.  The transcript has what every
plugin answered up to that moment.
"""

from podnet.cni import wire
from podnet.cni.errors import CniError
from podnet.cni.result import Result
from podnet.cni.versions import Verb
from podnet.cni.wire import Fields
from podnet.pod import Membership, Pod
from podnet.transcript import Transcript


def known_result(transcript: Transcript, pod: Pod, leaving: Membership) -> Result | None:
    """Return the result of an attachment's ADD; of an unfinished one, the last plugin's answer.

    Args:
        transcript: Where the answers are.
        pod: Whose attachment it is.
        leaving: The attachment.

    Returns:
        ``None`` when no plugin had answered.
    """
    if leaving.result is not None:
        return leaving.result
    answers = [
        str(step["stdout"])
        for step in transcript.read(pod.container_id)
        if (step["verb"], step["network"], step["exit_status"])
        == (Verb.ADD, leaving.network.name, 0)
        and Fields.of(step["environment"]).text("CNI_IFNAME") == leaving.ifname
    ]
    try:
        last = wire.loads(answers[-1].encode()) if answers else None
        version = leaving.network.cni_version
        return None if last is None else Result.from_wire(last, default_version=version)
    except CniError:  # an answer that was none is the reason why the ADD came to no end
        return None
