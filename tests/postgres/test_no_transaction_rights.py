"""No-transaction scripts: the roles `app` and `readonly` get their rights also on what a lost connection left."""

from __future__ import annotations

import pytest

from pgvector_stacks.migrations.execution import no_transaction
from tests.conftest import Server, _database
from tests.postgres.test_no_transaction_sessions import stop, up

OTHER = "begin isolation level serializable"  # of such a transaction only the names are noted
UNRECORDED = {
    "tables": f"{OTHER}; create table a.q (i serial); commit; {{stop}}",
    "made again": f"{OTHER}; drop table a.t; create table a.t (i int); create table a.q (); commit; {{stop}}",
    "swapped": f"{OTHER}; create table a.t_new (i serial); drop table a.t; alter table a.t_new rename to t; commit;"
    " {stop}",
    "rights of their own": f"{OTHER}; create table a.q (i serial); create table a.r (); revoke insert on a.q from app;"
    " grant select (i) on a.q to readonly; commit; {stop}",
    "a schema": f"{OTHER}; create schema c; create table c.q (); commit; {{stop}}",
    "the rest grants": f"{OTHER}; create table a.q (i serial); commit; {{stop}}; create table a.r (); {{stop}};"
    " grant select on a.q to app",
}
ACLS = (
    "SELECT name, ARRAY(SELECT unnest(acl)::text ORDER BY 1) FROM (SELECT oid::regclass::text AS name, relacl AS acl"
    " FROM pg_class WHERE relkind IN ('r', 'S') AND relnamespace::regnamespace::text IN ('a', 'c')"
    " UNION ALL SELECT nspname, nspacl FROM pg_namespace WHERE nspname IN ('a', 'c')) AS found ORDER BY 1"
)
GOES_AWAY = "select pg_terminate_backend(pg_backend_pid()); "


@pytest.mark.sample
@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("name", UNRECORDED)
def test_rights_come_for_what_a_lost_connection_left_unrecorded(
    server: Server, template: str, monkeypatch: pytest.MonkeyPatch, name: str, slow: bool
) -> None:
    """The rerun's first step recorded these objects, and then nothing told any more that they had no rights."""
    text = UNRECORDED[name].replace(f"{OTHER}; ", "begin; ") if slow else UNRECORDED[name]
    whole = f"{text}; create table a.later (i int); create index concurrently on a.later (i); select 2"
    *parts, rest = whole.split("{stop}; ")
    whole = "".join([*parts, rest])
    found = []
    for stops in (False, True):
        with _database(server, "template0") as database, monkeypatch.context() as patch:
            if slow and stops:  # as if reading a large schema had taken its time
                patch.setattr(no_transaction, "NOTING_S", 0.0)
                patch.setattr(no_transaction, "NOTING_SHARE", 0.0)
            for place in range(1, len(parts) + 1) if stops else ():
                stop(database, "".join([*parts[:place], GOES_AWAY, *parts[place:], rest]), "went away")
                patch.undo()
            up(database, whole)
            found.append(database.ask(ACLS))
    assert found[0] == found[1]
