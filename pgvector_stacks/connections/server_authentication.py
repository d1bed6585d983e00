"""What our connections require of a server before they reveal anything from which a password could be derived.

Any process can listen on the port of a server that is down. Our clients therefore answer only SCRAM, which reveals no
password. Over TLS they also require channel binding (RFC 5802, RFC 5929 `tls-server-end-point`): the server proves on
this channel that it knows the password. Where the stack's certificate is self-signed, the server must hold its key;
host names are not compared then, since only the stack's own certificate is trusted.

A certificate issued by an authority (public or a company's) whose root was not given can't be verified, because OpenSSL
accepts a certificate as its own root only if it is self-signed. Channel binding is required in that case too.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

SCRAM = "scram-sha-256"
UNDEMANDING = {"PGSSLMODE": "prefer", "PGCHANNELBINDING": "prefer", "PGSSLROOTCERT": ""}  # libpq's defaults
TLS = ("require", "verify-ca", "verify-full")
# Said in each URL: without an sslmode, Go's lib/pq demands TLS, and JDBC and libpq try it first
WITHOUT_TLS = "disable"
SYMPTOMS = (
    (
        "did not complete authentication", "what listens there asks for no password: it is no server of pgstack's, or "
        "its pg_hba.conf says trust",
        "see what it is:  ss -ltnp   ; where it is the stack's server, `up` closes it:  pgstack up STACK",
    ),
    (
        "authentication method requirement", "what listens there asks for the password in another way than SCRAM: it "
        "is no server of pgstack's, and got no password",
        "see what it is:  ss -ltnp   then start the server:  pgstack up STACK",
    ),
    (
        "channel binding", "what listens there doesn't prove that it knows the password (channel binding): it is no "
        "server of pgstack's, and got no password",
        "see what it is:  ss -ltnp   then start the server:  pgstack up STACK",
    ),
    (
        "certificate verify failed", "the server's certificate is not the stack's (or it has expired)",
        "see what listens there; a new certificate is pgvector:tlsCertificate's:  pgstack up STACK",
    ),
)  # fmt: skip


def build_parameters(sslmode: str, certificate: str, require_auth: str) -> dict[str, Any]:
    """Return the libpq parameters that refuse an impostor. `certificate`: the stack's own, PEM; "" if unknown."""
    found: dict[str, Any] = {"require_auth": require_auth} if require_auth else {}
    if not sslmode:
        return found
    found["sslmode"] = sslmode
    if sslmode not in TLS or not certificate:
        return found
    found["channel_binding"] = "require"
    if root := extract_roots(certificate):
        found |= {
            "sslmode": "verify-ca" if sslmode == "require" else sslmode,
            "sslrootcert": write_temporary_file(root),
        }
    return found


def build_environment(sslmode: str, certificate_file: str = "") -> dict[str, str]:
    """Return the same as environment variables, for psql, pg_dump and pg_restore. libpq before 16 ignores
    PGREQUIREAUTH; over TLS, channel binding (libpq 13) refuses cleartext and MD5 passwords as well.
    """
    found = {"PGREQUIREAUTH": SCRAM}
    if sslmode in TLS:
        found |= {"PGSSLMODE": sslmode, "PGCHANNELBINDING": "require"}
        if certificate_file:
            found |= {"PGSSLMODE": "verify-ca", "PGSSLROOTCERT": certificate_file}
    return found


@cache
def extract_roots(certificate: str) -> str:
    """Return the self-signed certificates of a PEM text, as PEM; "" where there are none or the text can't be read."""
    try:
        given = x509.load_pem_x509_certificates(certificate.encode())
    except ValueError:
        return ""
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in given if _is_an_authority(each))


def _is_an_authority(certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


@cache
def _folder() -> Path:
    """Create a folder of mode 0700 that is removed when the process ends."""
    folder = tempfile.mkdtemp(prefix="pgstack-tls-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


_FILES: dict[str, str] = {}
_LOCK = threading.Lock()


def write_temporary_file(text: str) -> str:
    """Write the text to a file that lives as long as the process: libpq reads it again to cancel a query."""
    with _LOCK:
        if text not in _FILES:
            path = _folder() / f"{len(_FILES)}.crt"
            path.touch(mode=0o600)
            path.write_text(text)
            _FILES[text] = str(path)
        return _FILES[text]
