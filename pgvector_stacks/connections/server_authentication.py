"""What every connection of ours demands of a server before it gets anything that a password could be learnt from.

A server that is down leaves its port to whoever takes it. So a client of ours answers nothing but SCRAM, by which a
stranger gets no password; over TLS it also demands that the server knows the password itself, on this very channel
(channel binding: RFC 5802, RFC 5929 `tls-server-end-point`), and where the stack's certificate is its own authority,
that the server has its key. Names aren't compared then: the one certificate that is trusted is the stack's.

A certificate of an authority that isn't in what was given (a public one, a company's) can't be verified without it:
OpenSSL takes a certificate as its own root only where it is one. Channel binding holds there all the same.
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
UNDEMANDING = {"PGSSLMODE": "prefer", "PGCHANNELBINDING": "prefer", "PGSSLROOTCERT": ""}  # libpq's
TLS = ("require", "verify-ca", "verify-full")
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


def refused(sslmode: str, certificate: str, require_auth: str) -> dict[str, Any]:
    """libpq's parameters that refuse strangers. `certificate`: PEM, the stack's own; "" where it isn't known."""
    found: dict[str, Any] = {"require_auth": require_auth} if require_auth else {}
    if not sslmode:
        return found
    found["sslmode"] = sslmode
    if sslmode not in TLS or not certificate:
        return found
    found["channel_binding"] = "require"
    if root := root_of(certificate):
        found |= {"sslmode": "verify-ca" if sslmode == "require" else sslmode, "sslrootcert": file_of(root)}
    return found


def variables(sslmode: str, certificate_file: str = "") -> dict[str, str]:
    """The same for psql, pg_dump and pg_restore of a stack's own server. libpq before 16 knows no PGREQUIREAUTH; over
    TLS channel binding (libpq 13) refuses cleartext and MD5 as well.
    """
    found = {"PGREQUIREAUTH": SCRAM}
    if sslmode in TLS:
        found |= {"PGSSLMODE": sslmode, "PGCHANNELBINDING": "require"}
        if certificate_file:
            found |= {"PGSSLMODE": "verify-ca", "PGSSLROOTCERT": certificate_file}
    return found


@cache
def root_of(certificate: str) -> str:
    """The certificates of a PEM text that are their own authorities, as PEM; "" where none is, or it can't be read."""
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
    """0700, and gone with the process."""
    folder = tempfile.mkdtemp(prefix="pgstack-tls-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


_FILES: dict[str, str] = {}
_LOCK = threading.Lock()


def file_of(text: str) -> str:
    """A file with it, for as long as the process lives: libpq reads it again where it cancels a query."""
    with _LOCK:
        if text not in _FILES:
            path = _folder() / f"{len(_FILES)}.crt"
            path.touch(mode=0o600)
            path.write_text(text)
            _FILES[text] = str(path)
        return _FILES[text]
