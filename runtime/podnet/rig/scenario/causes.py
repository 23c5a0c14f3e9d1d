"""What was the matter: causes, found in what was seen and not in what was asked for.

Pure.  Each rule looks at the evidence of a run: what plugins were asked and answered, what
was so at the moment of a failure, what is left.  A cause says what happened, what shows it,
and what helps.
"""

from collections.abc import Callable, Iterator

from podnet.rig.scenario import causes_calls, causes_chain, causes_node
from podnet.rig.scenario.evidence import Cause, Evidence


def causes(evidence: Evidence) -> list[Cause]:
    """Return what was the matter, what explains most first; each once."""
    found: dict[str, Cause] = {}
    for rule in _RULES:
        for cause in rule(evidence):
            found.setdefault(cause.name, cause)
    if set(found) - {"left-behind"}:
        found.pop("left-behind", None)  # explained by something
    return list(found.values())


_RULES: tuple[Callable[[Evidence], Iterator[Cause]], ...] = (
    causes_node.missing,
    causes_node.environment,
    causes_node.caches,
    causes_node.namespace,
    causes_calls.endings,
    causes_calls.not_idempotent,
    causes_chain.still_running,
    causes_chain.chain_stopped,
    causes_chain.never_deleted,
    causes_chain.forgotten_results,
    causes_calls.results,
    causes_node.leases,
    causes_chain.others,
    causes_chain.remains,
)
