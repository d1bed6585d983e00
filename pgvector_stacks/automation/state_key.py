"""Compares the key service that a stack file names with the one that encrypts the state.

Pulumi uses the file's, and the next `up` encrypts the whole state with its key. No preview and no plan shows that.
`pulumi stack change-secrets-provider` changes both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.plain_text import one_line
from pgvector_stacks.config.environment import read_content
from pgvector_stacks.config.secret_keys import NO_KEY_SERVICE

KEYS = ("secretsprovider", "encryptedkey")


def read_key(stack: str) -> dict[str, str]:
    """Return KEYS of a stack file, as far as it has them. Raises ConfigError if it isn't YAML."""
    content = read_content(stack)
    return {key: str(content[key]) for key in KEYS if key in content}


def find_difference(key: Mapping[str, str], deployment: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what the file names and what encrypts the state; None if they agree, or if the state is empty. Pure.

    `key`: as `read_key` returns it. `deployment`: as `pulumi stack export` prints it.
    """
    state = deployment.get("secrets_providers") or {}
    known: Mapping[str, Any] = (state.get("state") or {}) if state.get("type") == "cloud" else {}
    url = key.get("secretsprovider", "")
    named = "" if url in NO_KEY_SERVICE else url
    if not deployment.get("resources") or (named, known.get("url", "")) == ("", ""):
        return None
    if named == known.get("url") and key.get("encryptedkey") == known.get("encryptedkey"):
        return None
    encrypts = known.get("url") or state.get("type") or "no key"
    return named and f"{named} with another key" if named == known.get("url") else named or "no key service", encrypts


def refuse_other_key(stack: str, deployment: Mapping[str, Any]) -> None:
    """Raise PgstackError if the stack file names another key than the one that encrypts the state."""
    if (difference := find_difference(read_key(stack), deployment)) is None:
        return
    named, encrypts = map(one_line, difference)
    raise PgstackError(
        f"stack {stack}: its file names {named} for the secrets of the state, which {encrypts} encrypts\n"
        f"  Pulumi would encrypt the whole state with the file's key, and no preview would show it\n"
        f"  put {' and '.join(KEYS)} in stacks/Pulumi.{stack}.yaml back; to change the key:\n"
        f"  pgstack pulumi {stack} -- stack change-secrets-provider URL"
    )
