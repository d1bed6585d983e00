"""`pgstack test-connection`: runs inspection/compatibility.py against a stack or a URL, for people and CI."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from pgvector_stacks.automation.deployed import find_output_address, parse_address
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.config.environment import Environment
from pgvector_stacks.inspection.compatibility import CheckedServer, examine

VISIBLE = "warning: every user of this machine can read a command line: give the URL in DATABASE_URL instead"


def parse_checked_url(url: str) -> CheckedServer:
    """Return the target of a URL. Raises PgstackError if it is not a PostgreSQL URL; the message never quotes it."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres") or not parts.hostname or not parts.path.strip("/"):
        raise PgstackError("that is no URL of a database: postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    return CheckedServer(parse_address(url))


def get_stack_server(environment: Environment, outputs: Mapping[str, Any], via: str) -> CheckedServer:
    """Return the target of a stack: the application's URL, and what the environment requires."""
    return CheckedServer(
        find_output_address(outputs, "appUrl", via),
        pgvector_minimum=environment.pgvector_minimum,
        tls_required=environment.demands_tls,
    )


def report(target: CheckedServer, say: Callable[[str], object], *, as_json: bool) -> bool:
    """Print one line per check, or one JSON document. Return True if all checks passed."""
    results = []
    for result in examine(target):
        results.append(result)
        if not as_json:
            head, *rest = result.found.splitlines()
            say(f"{'✓' if result.good else '✗'} {result.check}: {head}")
            for line in rest:
                say(f"    {line.strip()}")
    good = all(result.good for result in results)
    if as_json:
        say(json.dumps({"good": good, "checks": [asdict(result) for result in results]}))
    return good
