"""Reads a user's Docker configuration as Docker's command line does: contexts, and certificates for TLS.

A context is a folder below `contexts/meta` whose name is the SHA-256 of the context's name. `config.json` says only
which context is current, and may be missing. The SDK's own reader finds no context without `config.json` (docker-py
#2622, #3190).

The certificates for a Docker Engine at tcp:// are those of the environment (DOCKER_TLS_VERIFY or DOCKER_TLS,
DOCKER_CERT_PATH), else those of the context with that URL. If several contexts have that URL with different
certificates, this module raises an error instead of guessing. It connects to nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgvector_stacks.common.errors import PgstackError

DEFAULT = "unix:///var/run/docker.sock"
DEFAULT_NAME = "default"
TCP = "tcp://"
CA, CERTIFICATE, KEY = "ca.pem", "cert.pem", "key.pem"


class DockerFailed(PgstackError):
    """The Docker Engine can't be reached, or refused a request."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A folder with ca.pem, cert.pem and key.pem, each optional. `chosen_by`: what chose the folder, for messages."""

    folder: Path
    verify: bool
    chosen_by: str

    def file(self, name: str) -> Path | None:
        path = self.folder / name
        return path if path.is_file() else None

    @property
    def client(self) -> tuple[Path, Path] | None:
        """The paths of the client's certificate and key; None unless the folder has both."""
        certificate, key = self.file(CERTIFICATE), self.file(KEY)
        return (certificate, key) if certificate and key else None

    def describe_missing_files(self) -> str:
        """Return a message that names the files missing for a connection; "" if none is missing."""
        wrong = [CA] if self.verify and self.file(CA) is None else []
        if (self.file(CERTIFICATE) is None) != (self.file(KEY) is None):
            wrong.append(KEY if self.file(KEY) is None else CERTIFICATE)
        return f"{self.folder} has no {' and no '.join(wrong)} ({self.chosen_by})" if wrong else ""

    def folder_for_plugin(self) -> str:
        """Return the folder for the plugin of pulumi-docker. Raises DockerFailed if the plugin can't use the folder."""
        missing = [name for name in (CA, CERTIFICATE, KEY) if self.file(name) is None]
        if missing or not self.verify:
            why = f"{self.folder} has no {', '.join(missing)}" if missing else "the engine's certificate isn't verified"
            raise DockerFailed(
                f"pulumi-docker can't use this TLS: {why} ({self.chosen_by})\n"
                f"  it needs {CA}, {CERTIFICATE} and {KEY} in one folder, and verification (DOCKER_TLS_VERIFY=1);"
                " or use ssh://"
            )
        return str(self.folder)


@dataclass(frozen=True, slots=True)
class DockerContext:
    """A Docker context: the URL of its Docker Engine, and the TLS files for it."""

    name: str
    host: str
    tls: TlsFiles | None


def config_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of Docker's configuration: DOCKER_CONFIG, else ~/.docker."""
    home = environ.get("HOME")
    return Path(environ.get("DOCKER_CONFIG") or (Path(home) if home else Path.home()) / ".docker")


def read_current_name(environ: Mapping[str, str]) -> str | None:
    """Return the context that `docker context use` chose; None for none or the default one. Raises DockerFailed."""
    path = config_folder(environ) / "config.json"
    name = _read_json(path).get("currentContext") if path.is_file() else None
    return str(name) if name and name != DEFAULT_NAME else None


def read_context(name: str, environ: Mapping[str, str], who: str) -> DockerContext:
    """Read the context with this name. `who`: what named the context, for messages.

    Raises DockerFailed if the context does not exist or can't be read.
    """
    if name == DEFAULT_NAME:
        return DockerContext(name, environ.get("DOCKER_HOST") or DEFAULT, None)
    found = _read(config_folder(environ), hashlib.sha256(name.encode()).hexdigest())
    if found is None:
        raise DockerFailed(
            f"{who}: there is no Docker context {name!r} in {config_folder(environ)}\n  see them:  docker context ls"
        )
    return found


def find_tls_files(url: str, environ: Mapping[str, str]) -> TlsFiles | None:
    """Return the TLS files for the Docker Engine at `url`; None: no TLS. Raises DockerFailed if contexts disagree."""
    if not url.startswith(TCP):
        return None
    verify = bool(environ.get("DOCKER_TLS_VERIFY"))
    if verify or environ.get("DOCKER_TLS"):
        given = environ.get("DOCKER_CERT_PATH")
        return TlsFiles(
            Path(given) if given else config_folder(environ),
            verify,
            "DOCKER_CERT_PATH" if given else "DOCKER_TLS_VERIFY",
        )
    fitting = [each for each in _read_all(config_folder(environ)) if each.host == url and each.tls is not None]
    preferred = (environ.get("DOCKER_CONTEXT"), read_current_name(environ))
    for each in fitting:
        if each.name in preferred:
            return each.tls
    if len({_content(each.tls) for each in fitting if each.tls}) > 1:
        raise DockerFailed(
            f"the Docker contexts {', '.join(each.name for each in fitting)} name {url} with different certificates\n"
            "  say which:  export DOCKER_CONTEXT=…"
        )
    return fitting[0].tls if fitting else None


def _content(tls: TlsFiles) -> tuple[object, ...]:
    return tls.verify, *(path.read_bytes() if (path := tls.file(name)) else b"" for name in (CA, CERTIFICATE, KEY))


def _read_all(where: Path) -> Iterator[DockerContext]:
    places = sorted((where / "contexts" / "meta").glob("*/meta.json"))
    found = [_read(where, path.parent.name) for path in places]
    return iter(sorted((each for each in found if each is not None), key=lambda each: each.name))


def _read(where: Path, identity: str) -> DockerContext | None:
    path = where / "contexts" / "meta" / identity / "meta.json"
    if not path.is_file():
        return None
    meta = _read_json(path)
    engine = (meta.get("Endpoints") or {}).get("docker") or {}
    name = str(meta.get("Name") or "")
    host = str(engine.get("Host") or DEFAULT).replace("http+unix://", "unix://")
    material = where / "contexts" / "tls" / identity / "docker"
    unverified = bool(engine.get("SkipTLSVerify"))
    # as Docker's command line does: without TLS files and with verification it connects without TLS
    secured = host.startswith(TCP) and (material.is_dir() or unverified)
    return DockerContext(name, host, TlsFiles(material, not unverified, f"the context {name}") if secured else None)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DockerFailed(f"{path} can't be read: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(found, dict):
        raise DockerFailed(f"{path} can't be read: it is not a JSON object")
    return found
