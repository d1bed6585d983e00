"""What a stack may do and had better not: said in each preview, in `up` and by `doctor`, and refused by nobody.

Why it is said and not refused: docs/decisions/0013-unsafe-combinations-are-said.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import yaml

from pgvector_stacks.config.engines import config_of
from pgvector_stacks.config.environment import LOADER, NAMESPACE, STACKS, Environment

GUARDED = ("staging", "production")
CONTAINER_FILES = ("/.dockerenv", "/run/.containerenv")  # Docker's, and Podman's
CONTAINER_VARIABLES = ("container", "KUBERNETES_SERVICE_HOST")  # systemd's rule (Container Interface), Kubernetes'
PASSPHRASE, PASSPHRASE_FILE = "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"


def is_root_of_a_host(environ: Mapping[str, str]) -> bool:
    """True where this process is root, and not that of a container."""
    in_a_container = any(map(os.path.exists, CONTAINER_FILES)) or any(map(environ.get, CONTAINER_VARIABLES))
    return os.geteuid() == 0 and not in_a_container


def cautions(environment: Environment, environ: Mapping[str, str], *, root: bool) -> list[tuple[str, str]]:
    """(what it means, what to do) for each that holds. `environ`: of the process that runs the program; `root`: it is
    the root of a host.

    Raises OSError, yaml.YAMLError: the stack file is there and was read before.
    """
    found = []
    engine = config_of(environment.engine)
    if engine.is_published and environment.tls == "off" and not _is_loopback(environment.bind_address):
        found.append(
            (
                f"{NAMESPACE}:bindAddress {environment.bind_address} lets other machines in, and {NAMESPACE}:tls is "
                "off: queries and rows go over the network in clear (passwords don't: SCRAM)",
                f"pulumi config set --stack {environment.stack} {NAMESPACE}:tls require",
            )
        )
    if engine.has_files_of_user and root:
        found.append(
            (
                "the embedded server runs with root's files: its superuser reads every file of this machine",
                "run pgstack as an ordinary user, who owns the checkout and its .data",
            )
        )
    if environment.stack in GUARDED and _passphrase_is_empty(environ) and not _has_provider(environment.stack):
        found.append(
            (
                f"the state of {environment.stack} is encrypted with the empty passphrase: whoever can read it has the "
                "superuser's password",
                f"pulumi stack change-secrets-provider --stack {environment.stack} passphrase",
            )
        )
    return found


def _passphrase_is_empty(environ: Mapping[str, str]) -> bool:
    """As Pulumi reads them (readPassphrase, secrets/passphrase/manager.go): the variable counts before the file,
    also where it is empty, and white space around a file's content is none of it.
    """
    if PASSPHRASE in environ:
        return environ[PASSPHRASE] == ""
    file = Path(environ.get(PASSPHRASE_FILE) or "/")
    try:
        return file.is_file() and not file.read_bytes().strip()  # no pipe: what is read of one is gone for Pulumi
    except OSError:  # Pulumi says that it can't be read
        return False


def _has_provider(stack: str) -> bool:
    """True where a key service encrypts the state, by the stack file; the passphrase is used by none of those."""
    path = STACKS / f"Pulumi.{stack}.yaml"
    content = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER) if path.is_file() else None
    return bool((content or {}).get("secretsprovider", "passphrase") not in ("default", "passphrase"))


def _is_loopback(address: str) -> bool:
    return ip_address(address.strip("[]")).is_loopback
