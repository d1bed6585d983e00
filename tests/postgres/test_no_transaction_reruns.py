"""What a rerun of a no-transaction script finds: the session, the rights and the record that its first part left."""

from __future__ import annotations

import pytest

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.inspection import schema_drift
from tests.conftest import FreshDatabase, script

HEAD = "-- pgstack: no-transaction\n"
BASE = script(
    "create schema a; create table a.log (v text); create sequence a.s; create table a.old (i int);"
    " insert into a.old values (1); create table a.dup (i int)", "1.sql",
)  # fmt: skip
STOPS = {"none": "select 1", "failed": "select 1/0", "terminated": "select pg_terminate_backend(pg_backend_pid())"}
LOG = "select string_agg(v, ' ' order by v) from a.log"


def differences(database: FreshDatabase) -> list[str]:
    with connect(database.admin) as connection:
        return list(schema_drift.describe_differences(schema_drift.find_drift(connection)))


def landed(database: FreshDatabase, text: str, stop: str) -> None:
    """Run it to its stop, and then the whole of it."""
    if stop != "none":
        with pytest.raises(PgstackError, match=r"division by zero|went away"):
            database.apply(scripts=(BASE, script(HEAD + text.replace("{stop}", STOPS[stop]), "2.sql")))
        assert differences(database) == []
    database.apply(scripts=(BASE, script(HEAD + text.replace("{stop}", STOPS["none"]), "2.sql")))
    assert differences(database) == []
    assert database.ask("SELECT FROM pgstack.statement") == []


SESSIONS = {
    "select set_config('my.b', nextval('a.s')::text, false); insert into a.log values (current_setting('my.b'));"
    " {stop}; insert into a.log values (current_setting('my.b')), ('n' || nextval('a.s'))": "1 1 n2",
    "select set_config('my.b', (select count(*) from a.old)::text, false); insert into a.old values (2); {stop};"
    " insert into a.log values (current_setting('my.b'))": "1",
    "begin; select set_config('my.b', nextval('a.s')::text, false); commit; {stop};"
    " insert into a.log values (current_setting('my.b'))": "1",
    "select set_config('my.b', 'x', false) as x, set_config('my.c', 'ü''', false); {stop};"
    " insert into a.log values (current_setting('my.b') || current_setting('my.c'))": "xü'",
    "do $$ begin perform set_config('my.b', 'x', false); set search_path = a; end $$; {stop};"
    " insert into log values (current_setting('my.b'))": "x",
    "prepare p as insert into a.log select i from a.old; execute p; deallocate p; drop table a.old; {stop}": "1",
    "prepare p as insert into a.log select i from a.old; execute p; drop table a.old; {stop}": "1",
    "create text search configuration a.c (copy = simple); set default_text_search_config = 'a.c';"
    " select 1; reset default_text_search_config; drop text search configuration a.c; {stop};"
    " insert into a.log values ('1')": "1",
}


@pytest.mark.sample
@pytest.mark.parametrize("stop", ["none", "failed"])
@pytest.mark.parametrize("text", SESSIONS)
def test_the_session_goes_on_with_the_values_it_had(empty_database: FreshDatabase, text: str, stop: str) -> None:
    landed(empty_database, text, stop)
    assert empty_database.ask(LOG) == [(SESSIONS[text],)]


MAY = (
    "select concat_ws(' ', has_table_privilege('app', 'a.m', 'delete'),"
    " has_table_privilege('readonly', 'a.m', 'select'), has_column_privilege('readonly', 'a.m', 'i', 'select'))"
)
GRANTS = {
    "create table a.m (i int, j int); {stop}; grant select (i) on a.m to readonly": "t f t",
    "create table a.m (i int, j int); grant select (j) on a.m to readonly; {stop}": "t f f",
    "create table a.m (i int); {stop}; grant insert on all tables in schema a to app": "f t t",
    "create table a.m (i int); {stop}; do $$ begin if false then grant insert on a.m to app, readonly; end if; end $$":
        "t t t",
}  # fmt: skip


@pytest.mark.sample
@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("text", GRANTS)
def test_what_its_rest_grants_holds_instead_of_the_ordinary_rights(
    empty_database: FreshDatabase, text: str, stop: str
) -> None:
    landed(empty_database, text, stop)
    assert empty_database.ask(MAY) == [(GRANTS[text],)]


def test_a_grant_that_an_edit_took_out_of_the_rest_holds_nothing_back(empty_database: FreshDatabase) -> None:
    made = "create table a.m (i int, j int);"
    with pytest.raises(PgstackError, match="division by zero"):
        empty_database.apply(
            scripts=(BASE, script(f"{HEAD}{made} select 1/0; grant select (i) on a.m to readonly", "2.sql"))
        )
    assert empty_database.ask(MAY) == [("t f f",)]
    landed(empty_database, made + " select 1", "none")
    assert empty_database.ask(MAY) == [("t t t",)]


def test_what_it_makes_is_recorded_as_others_read_it(empty_database: FreshDatabase) -> None:
    text = (
        "set quote_all_identifiers = on; set timezone = 'Asia/Tokyo'; set extra_float_digits = -5;"
        " set standard_conforming_strings = off; create table a.m (t timestamptz default '2024-01-01'::timestamptz,"
        " v text default 'x', f float default 0.1) partition by range (f);"
        " create table a.m1 partition of a.m for values from (0.123456789012345) to (1); {stop}"
    )
    landed(empty_database, text, "terminated")


INDEX = "create index concurrently {name} on a.dup (i);"
EDITED = {"select 7;" + INDEX: 1, INDEX: 1, "select 7;": 0, "begin; create index i on a.dup (i); commit;": 1}


@pytest.mark.sample
@pytest.mark.parametrize("text", EDITED)
@pytest.mark.parametrize("name", ["i", ""])
def test_an_index_whose_record_was_lost_is_none_of_an_edited_rest(
    empty_database: FreshDatabase, text: str, name: str
) -> None:
    """One without a name that the rest doesn't make any more stays: it may be another's."""
    with pytest.raises(PgstackError, match="division by zero"):
        empty_database.apply(scripts=(BASE, script(HEAD + INDEX.format(name=name) + "select 1/0", "2.sql")))
    empty_database.do("UPDATE pgstack.statement SET state = 'started'")
    landed(empty_database, text.format(name=name), "none")
    found = empty_database.ask("SELECT count(*) FROM pg_index WHERE indrelid = 'a.dup'::regclass AND indisvalid")
    assert found == [(EDITED[text] + (not name and INDEX not in text),)]
