"""Finds configurations that are unsafe but allowed. Each preview, each `up` and `doctor` warn of them.

Why they are warnings, not errors: docs/decisions/0013-unsafe-combinations-are-said.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from pgvector_stacks.config.engines import get_config
from pgvector_stacks.config.environment import NAMESPACE, Environment, read_content
from pgvector_stacks.config.secret_keys import NO_KEY_SERVICE

GUARDED = ("staging", "production")
CONTAINER_FILES = ("/.dockerenv", "/run/.containerenv")  # Docker creates the first, Podman the second
CONTAINER_VARIABLES = ("container", "KUBERNETES_SERVICE_HOST")  # systemd's Container Interface; Kubernetes
PASSPHRASE, PASSPHRASE_FILE = "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"


def is_root_of_a_host(environ: Mapping[str, str]) -> bool:
    """Return True if this process runs as root outside of a container."""
    in_a_container = any(map(os.path.exists, CONTAINER_FILES)) or any(map(environ.get, CONTAINER_VARIABLES))
    return os.geteuid() == 0 and not in_a_container


def find_cautions(environment: Environment, environ: Mapping[str, str], *, root: bool) -> list[tuple[str, str]]:
    """Return (consequence, remedy) for each caution that applies.

    `environ`: of the process that runs the program; `root`: whether that process is root on a host. Raises OSError,
    yaml.YAMLError if the stack file, which was read before, can't be read again.
    """
    found = []
    engine = get_config(environment.engine)
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
    if environment.environment in GUARDED and _passphrase_is_empty(environ) and not _has_provider(environment.stack):
        found.append(
            (
                f"the state of {environment.stack} is encrypted with the empty passphrase: whoever can read it has the "
                "superuser's password",
                f"pulumi stack change-secrets-provider --stack {environment.stack} passphrase",
            )
        )
    return found


def describe_restore_into(source: Environment, target: Environment) -> str:
    """Say whose rights the superusers of `source` get by a restore into `target`; "" if the stacks are the same."""
    if source.stack == target.stack:
        return ""
    beyond = ""
    if get_config(target.engine).has_files_of_user and not get_config(source.engine).has_files_of_user:
        beyond = ", and may start programs as its user on this machine"
    return f"what a superuser of {source.stack} made in the database runs as a superuser of {target.stack}{beyond}"


def _passphrase_is_empty(environ: Mapping[str, str]) -> bool:
    """Return True if Pulumi would use the empty passphrase (readPassphrase in its secrets/passphrase/manager.go).

    If the variable is set, even to "", Pulumi ignores the file. It strips white space around the file's content.
    """
    if PASSPHRASE in environ:
        return environ[PASSPHRASE] == ""
    file = Path(environ.get(PASSPHRASE_FILE) or "/")
    try:
        return file.is_file() and not file.read_bytes().strip()  # a pipe can be read only once: by Pulumi
    except OSError:  # Pulumi itself reports that the file can't be read
        return False


def _has_provider(stack: str) -> bool:
    """Return True if the stack file names a key service to encrypt the state. Then no passphrase is used."""
    return read_content(stack).get("secretsprovider", "") not in NO_KEY_SERVICE


def _is_loopback(address: str) -> bool:
    return ip_address(address.strip("[]")).is_loopback
