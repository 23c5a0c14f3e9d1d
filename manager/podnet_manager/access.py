"""How to reach etcd: its endpoints, whom to believe, and who we are.

Checks what makes no sense whether etcd answers or not.  Opens no connection.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

from podnet.errors import UsageError
from podnet_manager.connection import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach etcd.

    Attributes:
        endpoints: URLs of its members.
        ca: Who may vouch for them; ``None``: whom the system believes.
        cert: What we show them, if they ask.
        key: Its key.
        user: A name, where authentication is enabled.
        password: And its password.
        timeout: Seconds for one request, over all endpoints.
    """

    endpoints: tuple[str, ...]
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    user: str = ""
    password: str = ""
    timeout: float = 5.0

    def check(self) -> None:
        """Check what makes no sense, whether etcd answers or not.

        Raises:
            UsageError: An endpoint is none, or a file cannot be used.
        """
        self.servers()
        self.tls()

    def servers(self) -> list[Endpoint]:
        """Return the endpoints.

        Raises:
            UsageError: One is none, or there are none.
        """
        if not self.endpoints:
            raise UsageError("etcd has no endpoint", "http://HOST:PORT or https://HOST:PORT")
        return [Endpoint.from_url(url) for url in self.endpoints]

    def tls(self) -> ssl.SSLContext:
        """Return whom to believe, and what to show.

        Raises:
            UsageError: A file cannot be read, or its other half is missing.
        """
        if bool(self.cert) != bool(self.key):
            raise UsageError(
                "etcd's TLS needs a certificate and its key, and there is only one of them",
                "--etcd-certfile and --etcd-keyfile",
            )
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert:
                context.load_cert_chain(self.cert, self.key)
        except OSError as exc:
            files = ", ".join(str(path) for path in (self.ca, self.cert, self.key) if path)
            raise UsageError(f"etcd's TLS files ({files}) cannot be used: {exc}") from exc
        context.set_alpn_protocols(["http/1.1"])
        return context
