"""Configures TLS between our client and a Docker Engine at tcp://, and explains why a TLS connection fails.

Errors are recognised by their text, because requests and urllib3 pass them on as strings.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests
from docker.tls import TLSConfig

from pgvector_stacks.docker.docker_context import CA, CERTIFICATE, KEY, TCP, DockerFailed, TlsFiles

HELP = "https://docs.docker.com/engine/security/protect-access/"
DIFFERENT_NAME = ("Hostname mismatch", "IP address mismatch", "doesn't match", "not valid for")
CLIENT_REFUSED = ("certificate required", "bad certificate", "CERTIFICATE_REQUIRED", "BAD_CERTIFICATE",
                  "unknown ca", "UNKNOWN_CA", "certificate unknown", "CERTIFICATE_UNKNOWN",
                  "certificate expired", "CERTIFICATE_EXPIRED", "handshake failure", "HANDSHAKE_FAILURE")  # fmt: skip


PRIVATE_SCHEMES = ("unix://", "http+unix://", "npipe://", "ssh://")


class _ChosenCaConfig(TLSConfig):  # type: ignore[misc]
    """A TLS configuration that uses only the chosen CA. By default REQUESTS_CA_BUNDLE would override the CA."""

    url = ""

    def configure_client(self, client: Any) -> None:
        super().configure_client(client)
        client.proxies = requests.utils.get_environ_proxies(self.url.replace(TCP, "https://"))
        client.trust_env = False


def make_config(tls: TlsFiles | None, url: str) -> TLSConfig | None:
    """Return the TLS configuration for the Docker SDK. Raises DockerFailed with the name of a missing file."""
    if tls is None:
        return None
    if lacking := tls.describe_missing_files():
        raise DockerFailed(f"no TLS with the Docker Engine at {url}: {lacking}\n  make or copy them: {HELP}")
    ca, client = tls.file(CA), tls.client
    found = _ChosenCaConfig(
        client_cert=tuple(map(str, client)) if client else None,
        ca_cert=str(ca) if ca and tls.verify else None,
        verify=tls.verify,
    )
    found.url = url
    return found


def refuse_unverified(url: str, tls: TlsFiles | None, by: str) -> None:
    """Raise DockerFailed for a Docker Engine whose identity TLS or ssh does not prove. `by`: for the message.

    The Docker Engine receives passwords and keys. Loopback is no exception: while the Docker Engine is down, any local
    process can listen on its port and receive them.
    """
    if url.startswith(PRIVATE_SCHEMES) or (tls is not None and tls.verify):
        return
    lacks = "without TLS" if tls is None else f"with TLS that verifies nothing ({tls.chosen_by})"
    raise DockerFailed(
        f"the Docker Engine at {url}{by} is refused: over TCP {lacks} anybody could be the engine, and it gets the "
        "passwords\n"
        "  reach it by ssh:  pgvector:dockerHost: ssh://USER@HOST\n"
        f"  or verify it:  export DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH=FOLDER  ({CA}, {CERTIFICATE}, {KEY}) or "
        "a context with them"
    )


def explain_error(url: str, tls: TlsFiles | None, text: str) -> str:
    """Return why TLS failed; "" if the error is not a TLS error."""
    if not url.startswith(TCP) or tls is None:
        return ""
    if any(symptom in text for symptom in DIFFERENT_NAME):
        return f"its certificate is for another name than {urlsplit(url).hostname}"
    if "has expired" in text:
        return "its certificate has expired"
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate verify failed" in text:
        return f"its certificate isn't signed by the CA in {tls.folder / CA}"
    if "KEY_VALUES_MISMATCH" in text or "key values mismatch" in text:
        return f"{tls.folder / KEY} is not the key of {tls.folder / CERTIFICATE}"
    if "[SSL] PEM lib" in text or "NO_START_LINE" in text or "NO_CERTIFICATE_OR_CRL_FOUND" in text:
        return f"a file in {tls.folder} is not a certificate or key in PEM"
    if any(symptom in text for symptom in CLIENT_REFUSED):
        return "it refuses our client certificate" if tls.client else "it requires a client certificate"
    if "WRONG_VERSION_NUMBER" in text or "wrong version number" in text or "record layer failure" in text:
        return "it speaks no TLS on this port"
    return ""


def find_remedy(url: str, tls: TlsFiles | None, text: str) -> str:
    """Return the remedy for a TLS error; "" if the error is not a TLS error."""
    why = explain_error(url, tls, text)
    if not why or tls is None:
        return ""
    where = f"{CA}, {CERTIFICATE} and {KEY} in {tls.folder} ({tls.chosen_by})"
    if "speaks no TLS" in why:
        return "check host and port: the engine has another one for TLS (2376), or none yet"
    return f"check {where}; and by hand:  docker -H {url} --tlsverify info"
