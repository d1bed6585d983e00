"""Sets the administrator's password in single-user mode, for a server that nobody can log in to.

The data directory's own settings apply there, whoever wrote them. A statement may therefore be logged, or be repeated
in an error message; it contains only a verifier, never a password. Used for existing data directories; a new one gets
its verifier from initdb.
"""

from __future__ import annotations

from psycopg import pq

# On the command line, which overrides postgresql.auto.conf. Single-user mode ignores settings of databases and roles.
SETTINGS = {
    "shared_buffers": "64MB",  # the directory's own value may exceed the memory of a throw-away container
    "exit_on_error": "on",
    "standard_conforming_strings": "on",
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "debug_print_parse": "off",
    "debug_print_rewritten": "off",
    "debug_print_plan": "off",
}
OPTIONS = tuple(word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}"))


def compute_verifier(role: str, password: str) -> str:
    """Return the SCRAM-SHA-256 verifier, which ALTER ROLE and initdb store unchanged; libpq computes it locally.

    It contains no quote, backslash or line break, whatever the password.

    >>> compute_verifier("postgres", "it's")[:19]
    'SCRAM-SHA-256$4096:'
    """
    without_server = pq.PGconn.connect_start(b"nowhere")  # an invalid connection string, so libpq looks nothing up
    return without_server.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
