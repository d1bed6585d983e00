"""What `up` mends by itself is named before it does, and only what it really mends."""

from __future__ import annotations

from pgvector_stacks.connections.connection import connect
from pgvector_stacks.inspection import rerun_reasons
from tests.conftest import ROLE_LIMITS, FreshDatabase


def look(database: FreshDatabase, *extensions: str) -> tuple[str, ...]:
    with connect(database.admin, application="test", own_path=True) as connection:
        return rerun_reasons.find_reasons(
            connection,
            rerun_reasons.DeployedDatabase(
                database.admin,
                extensions=extensions,
                app_password=database.app_password,
                readonly_password=database.app_password,
                limits=ROLE_LIMITS,
            ),
        )


def test_a_lost_extension_is_named_and_made_again_by_the_next_up(fresh_database: FreshDatabase) -> None:
    assert look(fresh_database) == ()
    fresh_database.do("DROP EXTENSION vector CASCADE")
    assert look(fresh_database, "pg_trgm") == (
        "extension vector is gone: it is made again, and not what went with it",
        "extension pg_trgm is gone: it is made again, and not what went with it",
    )
    fresh_database.apply()
    assert look(fresh_database) == ()
