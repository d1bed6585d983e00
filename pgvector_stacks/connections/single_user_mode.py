"""What is said to a server that nobody can log in to: its administrator's password, in single-user mode.

The data directory's own settings hold there, whoever wrote them: a statement that they log, or that they refuse and
the server repeats, never has a password in it. Made for data directories that are there already; a new one gets the
verifier from initdb.
"""

from __future__ import annotations

from psycopg import pq

# On the command line, which beats postgresql.auto.conf; what databases and roles set isn't read in single-user mode.
SETTINGS = {
    "shared_buffers": "64MB",  # the directory's own may be more than a throw-away container has
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


def verifier(role: str, password: str) -> str:
    """The SCRAM-SHA-256 verifier that ALTER ROLE and initdb store as it is; made by libpq, which asks no server.

    No quote, backslash or line break is in it, whatever the password.

    >>> verifier("postgres", "it's")[:19]
    'SCRAM-SHA-256$4096:'
    """
    without_server = pq.PGconn.connect_start(b"nowhere")  # refused as a connection string: nothing is looked up
    return without_server.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
