"""The CNI protocol as values: a libcni without processes, files or a kernel.

Every released version of the spec (0.1.0 to 1.1.0).  Read bottom-up::

    errors     what can go wrong, with the spec's codes
    wire       JSON, strictly
    names      what may be called how
    versions   versions and verbs, and what each needs
    config     network configurations
    result     what ADD returns
    convert    results from version to version

A program that wants only the protocol needs only this package::

    network = Network.from_conflist(path.read_bytes())
    result = Result.from_wire(wire.loads(stdout), default_version=network.cni_version)
    older = convert(result, "0.4.0").to_wire()
"""

from podnet.cni.config import Network, PluginConfig
from podnet.cni.convert import convert
from podnet.cni.errors import (
    CniError,
    Code,
    DecodeError,
    IncompatibleVersionError,
    InvalidConfigError,
    InvalidEnvironmentError,
)
from podnet.cni.result import Dns, Interface, IPConfig, Result, Route
from podnet.cni.versions import LATEST, RELEASED, PluginVersions, Verb

__all__ = [
    "LATEST",
    "RELEASED",
    "CniError",
    "Code",
    "DecodeError",
    "Dns",
    "IPConfig",
    "IncompatibleVersionError",
    "Interface",
    "InvalidConfigError",
    "InvalidEnvironmentError",
    "Network",
    "PluginConfig",
    "PluginVersions",
    "Result",
    "Route",
    "Verb",
    "convert",
]
