"""Server certificates, good and bad, from a certificate authority that lives for one test run."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import trustme

VARIANTS = ("good", "expired", "wrong_host", "unknown_ca")


class Certificates:
    """`context(variant)` for a listener, `ca_file` for a client that trusts the good authority."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.ca_file = folder / "sandbox-ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    def context(self, variant: str = "good") -> ssl.SSLContext:
        """A certificate for 127.0.0.1 and localhost, or one that a client must refuse."""
        if variant not in VARIANTS:
            raise ValueError(f"variant {variant!r} is none of {VARIANTS}")
        ca = trustme.CA() if variant == "unknown_ca" else self._ca
        names = (
            ["another-account.snowflakecomputing.com"]
            if variant == "wrong_host"
            else ["127.0.0.1", "localhost"]
        )
        past = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ca.issue_cert(*names, not_after=past if variant == "expired" else None).configure_cert(context)
        return context
