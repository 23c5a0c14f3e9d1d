"""Findings as JSON: everything, with every call."""

from collections.abc import Sequence

from podnet.cni import wire
from podnet.rig.conformance.suite import Finding


def text(findings: Sequence[Finding]) -> str:
    """Return findings as JSON."""
    whole = {
        "apiVersion": "podnet/v1",
        "kind": "FindingList",
        "items": [finding.to_wire() for finding in findings],
    }
    return wire.dumps(whole, indent=2) + "\n"
