"""`pgstack reset`: drops the stack's database and runs every script again, as after a switch to another branch."""

from __future__ import annotations

import psycopg

from pgvector_stacks.cli import deploy
from pgvector_stacks.cli.confirm import ask_before_loss
from pgvector_stacks.cli.deployed_stack import find_database, say
from pgvector_stacks.cli.inspection import read_listed_scripts
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.config.environment import Environment, from_file
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import Address, wrap_server_error
from pgvector_stacks.connections.up_lock import hold_up_lock

PROTECTED = "protect"


def reset(stack: str, *, yes: bool) -> None:
    """Drop the database, then `up`. The server, its roles and their passwords stay. Raises PgstackError.

    Nothing is dropped if the volume is protected, a script can't be read, the name isn't typed, or another `up` runs.
    """
    environment = from_file(stack)
    refuse_protected(environment)
    deploy.check_engine(environment)
    read_listed_scripts(environment)  # a mistake in a script is told while the database is still there
    loss = f"`reset` deletes the database {environment.database} of {environment.stack}"
    ask_before_loss(environment, loss, yes=yes, say=say)
    database = find_database(stack).admin
    drop_database(database, environment.lock_wait_s)
    say(f"dropped the database {database.database}; the server and its roles stay")
    deploy.up_and_print(stack)


def refuse_protected(environment: Environment) -> None:
    """Raise PgstackError if the stack file protects the data."""
    if environment.volume == PROTECTED:
        raise PgstackError(
            f"the data of {environment.stack} is protected (pgvector:volume: protect): `reset` would delete it\n"
            '  to undo what a script did:  pgstack new "undo …"'
        )


def drop_database(at: Address, lock_wait_s: float) -> None:
    """Drop the database of this address, and end the connections to it. Raises PgstackError."""
    with hold_up_lock(at, lock_wait_s) as cluster:
        try:
            roles.drop_database(cluster, at.database)
        except psycopg.Error as error:
            raise wrap_server_error(error) from None
