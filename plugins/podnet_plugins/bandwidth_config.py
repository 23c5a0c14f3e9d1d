"""The configuration of bandwidth: rates and bursts, and the token buckets they mean."""

from dataclasses import dataclass, fields
from typing import Self

from podnet.cni.errors import InvalidConfigError
from podnet.kernel.traffic import TokenBucket
from podnet_plugins.schema import capability, key, read
from podnet_plugins.skel import Call

_BITS, _MOST = 8, 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Rates in bits per second, bursts in bits; ingress is what the pod receives."""

    ingress_rate: int | None = key(
        None, least=0, needs="ingressBurst", doc="Bits per second that the pod receives."
    )
    ingress_burst: int | None = key(
        None, least=0, needs="ingressRate", doc="Bits that it may receive at once."
    )
    egress_rate: int | None = key(
        None, least=0, needs="egressBurst", doc="Bits per second that the pod sends."
    )
    egress_burst: int | None = key(
        None, least=0, needs="egressRate", doc="Bits that it may send at once."
    )

    @property
    def said(self) -> bool:
        """Whether any of them is given, be it as 0."""
        return any(getattr(self, one.name) is not None for one in fields(Rates))


@dataclass(frozen=True, slots=True, kw_only=True)
class BandwidthConfig(Rates):
    """The keys of the configuration."""

    bandwidth: Rates | None = capability(  # noqa: RUF009  it declares a field
        "bandwidth", default=None, doc="The same, for one pod."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The buckets that one call asks for; ``None`` lets everything through.

    Attributes:
        ingress: For what the pod receives.
        egress: For what it sends.
    """

    ingress: TokenBucket | None
    egress: TokenBucket | None

    def __bool__(self) -> bool:
        return bool(self.ingress or self.egress)

    @classmethod
    def of(cls, call: Call) -> Self:
        """Read and check the limits of *call*; the configuration's own win over the pod's.

        Raises:
            CniError: A rate without a burst, a burst without a rate, or one out of bounds.
        """
        config = read(BandwidthConfig, call.config)
        rates = config if config.said else config.bandwidth or config
        return cls(
            ingress=_bucket("ingress", rates.ingress_rate or 0, rates.ingress_burst or 0),
            egress=_bucket("egress", rates.egress_rate or 0, rates.egress_burst or 0),
        )


def _bucket(direction: str, rate: int, burst: int) -> TokenBucket | None:
    if not rate and not burst:
        return None
    if not burst:
        raise InvalidConfigError("if rate is set, burst must also be set", f"{direction}Burst")
    if not rate:
        raise InvalidConfigError("if burst is set, rate must also be set", f"{direction}Rate")
    if burst // _BITS >= _MOST:
        raise InvalidConfigError("burst cannot be more than 4GB", f"{direction}Burst is {burst}")
    for name, value in (("Rate", rate), ("Burst", burst)):
        if value < _BITS:
            raise InvalidConfigError(f"{direction}{name} must be at least a byte, 8, not {value}")
    return TokenBucket.of(rate=rate, burst=burst)
