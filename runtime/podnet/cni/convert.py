"""Results from one spec version to another: every pair, with the losses that libcni documents.

There are three shapes (SPEC section 5 and its history), so there are few cases:

====================  =======================================================================
to 0.1.0, 0.2.0       interfaces are lost; the first address of each family stays; routes keep
                      dst and gw, and only where their family has an address
to 0.3.0 … 0.4.0      interfaces keep name, mac and sandbox; addresses say their family
to 1.0.0, 1.1.0       the family is no longer said; nothing else changes
====================  =======================================================================

Routes keep mtu, advmss, priority, table and scope in every version from 0.3.0, and going
from 1.1.0 to 1.0.0 changes the label only: that is what libcni does.
"""

from dataclasses import replace

from podnet.cni import versions
from podnet.cni.errors import IncompatibleVersionError
from podnet.cni.result import Interface, IPConfig, Result, Route, has_one_ip_per_family


def convert(result: Result, cni_version: str) -> Result:
    """Return *result* in *cni_version*.

    Raises:
        IncompatibleVersionError: There is no such version on either side, or an address is
            needed (0.1.0 and 0.2.0) and the result has none.
    """
    version = cni_version or versions.UNVERSIONED
    said = result.cni_version or versions.UNVERSIONED
    if not {said, version} <= set(versions.RELEASED):
        raise IncompatibleVersionError(f"no converter for CNI result version {said} to {version}")
    if version == result.cni_version:
        return result
    if has_one_ip_per_family(version):
        return _to_one_ip_per_family(result, version)
    if versions.at_least(version, "1.0.0"):
        ips = tuple(replace(ip, version="") for ip in result.ips)
        return replace(result, cni_version=version, ips=ips)
    return replace(
        result,
        cni_version=version,
        interfaces=tuple(Interface(i.name, i.mac, sandbox=i.sandbox) for i in result.interfaces),
        ips=tuple(replace(ip, version=ip.version or ip.family) for ip in result.ips),
    )


def _to_one_ip_per_family(result: Result, version: str) -> Result:
    if has_one_ip_per_family(result.cni_version):
        return replace(result, cni_version=version)
    # A result of 0.3.0 to 0.4.0 is believed about the family that it states.
    said = not versions.at_least(result.cni_version, "1.0.0")
    ips = []
    for family in ("4", "6"):
        first = next((ip for ip in result.ips if _stated(ip, said=said) == family), None)
        if first is not None:
            ips.append(IPConfig(first.address, first.gateway))
    if not ips:
        raise IncompatibleVersionError("cannot convert: no valid IP addresses")
    families = {ip.address.version for ip in ips}
    routes = [Route(r.dst, r.gw) for r in result.routes if r.dst.version in families]
    return Result(
        cni_version=version,
        ips=tuple(ips),
        routes=tuple(sorted(routes, key=lambda route: route.dst.version)),
        dns=result.dns,
    )


def _stated(ip: IPConfig, *, said: bool) -> str:
    if not said:
        return ip.family
    return ip.version if ip.version == ip.family else ""
