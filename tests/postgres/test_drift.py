"""A hand-made change shows in words, stays shown until accepted by name, and applying a script accepts nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.cli import inspection
from pgvector_stacks.common import definitions
from pgvector_stacks.common.difference import Difference
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.inspection import schema_drift
from pgvector_stacks.inspection.schema_drift import carry_over
from pgvector_stacks.migrations import ledger
from tests.conftest import FreshDatabase, script


def words(database: FreshDatabase) -> tuple[str, ...]:
    with connect(database.admin) as connection:
        return schema_drift.describe_differences(schema_drift.find_drift(connection))


@pytest.mark.promise("A database that only scripts changed has no drift")
def test_a_fresh_database_has_no_drift(fresh_database: FreshDatabase) -> None:
    assert words(fresh_database) == ()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("ALTER TABLE app.document ADD COLUMN x int", "column app.document.x was added (integer)"),
        ("ALTER TABLE app.document DROP COLUMN language", "column app.document.language was dropped"),
        ("ALTER TABLE app.document ALTER COLUMN title TYPE varchar(9)",
         "column app.document.title was changed: type is character varying(9), was "),
        ("CREATE TABLE app.foo (a int PRIMARY KEY)", "table app.foo was added"),
        ("DROP TABLE app.outbox", "table app.outbox was dropped"),
        ("DROP INDEX app.embedding_hnsw", "index app.embedding.embedding_hnsw was dropped"),
        ("CREATE FUNCTION app.f() RETURNS int LANGUAGE sql RETURN 1", "function app.f() was added"),
        ("ALTER TYPE app.sync_status ADD VALUE 'late'", "enum app.sync_status was changed: values is "),
        ("GRANT SELECT, INSERT ON app.tenant TO PUBLIC",
         "table app.tenant was changed: PUBLIC gained INSERT, SELECT"),
        ("ALTER TABLE app.tenant DISABLE TRIGGER ALL", "table app.tenant was changed: triggers of constraints is "),
        ("ALTER TABLE app.document DISABLE TRIGGER document_touch", "trigger app.document.document_touch was changed"),
        ("ALTER TABLE app.tenant ENABLE ROW LEVEL SECURITY",
         "table app.tenant was changed: row security is on, was none"),
        ("CREATE SCHEMA more", "schema more was added"),
        ("INSERT INTO app.tenant (name) VALUES ('rows are no drift')", None),
    ],
)  # fmt: skip
def test_a_hand_made_change_is_told_in_words(fresh_database: FreshDatabase, change: str, expected: str | None) -> None:
    fresh_database.do(change)
    found = words(fresh_database)
    if expected is None:
        assert found == ()
    else:
        assert any(line.startswith(expected) for line in found), found


def test_a_change_undone_by_hand_is_no_drift_any_more(fresh_database: FreshDatabase) -> None:
    fresh_database.do("ALTER TABLE app.tenant ADD COLUMN x int")
    fresh_database.do("ALTER TABLE app.tenant DROP COLUMN x")
    assert words(fresh_database) == ()


@pytest.mark.promise("Applying a script accepts no drift")
def test_applying_a_script_accepts_no_drift(fresh_database: FreshDatabase) -> None:
    fresh_database.do("ALTER TABLE app.tenant ADD COLUMN x int")
    fresh_database.do("DROP TABLE app.outbox")
    fresh_database.apply(script("create table app.one ()"))
    assert words(fresh_database) == ("column app.tenant.x was added (integer)", "table app.outbox was dropped")


def test_a_script_that_makes_the_change_its_own_ends_the_drift(fresh_database: FreshDatabase) -> None:
    fresh_database.do("ALTER TABLE app.tenant ADD COLUMN x int")
    fresh_database.apply(script("alter table app.tenant drop column x; alter table app.tenant add column x bigint"))
    assert words(fresh_database) == ()


@pytest.mark.parametrize("styles_first", [True, False])
def test_how_a_database_writes_its_values_is_no_drift_and_hides_none(
    fresh_database: FreshDatabase, styles_first: bool
) -> None:
    name = fresh_database.admin.database
    styles = "".join(
        f"ALTER DATABASE {name} SET {setting};"
        for setting in (
            "datestyle = 'German'", "intervalstyle = 'iso_8601'", "bytea_output = 'escape'",
            "timezone = 'Asia/Kathmandu'",
        )
    )  # fmt: skip
    columns = "d date DEFAULT '2020-02-01', i interval DEFAULT '1 day 2 hours', b bytea DEFAULT 'a'"
    columns += ", t timestamptz DEFAULT '2020-02-01 12:00+00'"
    table = f"create table app.one ({columns})"
    texts = (styles, table) if styles_first else (table, styles)
    scripts = (script(texts[0], "0004_first.sql"), script(texts[1], "0005_second.sql"))
    for count in (1, 2, 2):
        fresh_database.apply(*scripts[:count])
        assert words(fresh_database) == ()
    with connect(fresh_database.admin) as connection:
        assert all(row.applied_at.year >= 2024 for row in ledger.read_ledger(connection))
    fresh_database.do("ALTER TABLE app.one ALTER d SET DEFAULT '2020-01-02'")
    assert len(words(fresh_database)) == 1


def test_accepting_names_one_change(fresh_database: FreshDatabase) -> None:
    fresh_database.do("ALTER TABLE app.tenant ADD COLUMN x int, ADD COLUMN y int")
    database = inspection.DatabaseAddresses(fresh_database.admin)
    inspection.accept(database, "column", "app.tenant.x", lambda _: None)
    assert words(fresh_database) == ("column app.tenant.y was added (integer)",)
    with pytest.raises(PgstackError, match=r"no drift of column app\.tenant\.z\n  drifted: column app\.tenant\.y"):
        inspection.accept(database, "column", "app.tenant.z", lambda _: None)


DEFINITIONS = st.sampled_from([None, "1", "2"])
DIFFERENCES = st.dictionaries(st.sampled_from("abcd"), st.tuples(DEFINITIONS, DEFINITIONS))


@given(DIFFERENCES, DIFFERENCES)
def test_only_what_was_different_before_and_is_untouched_stays_drift(
    before: dict[str, tuple[str | None, str | None]], after: dict[str, tuple[str | None, str | None]]
) -> None:
    def made(rows: dict[str, tuple[str | None, str | None]]) -> list[Difference]:
        return [Difference("table", name, *row) for name, row in rows.items() if row[0] != row[1]]

    kept = carry_over(made(before), made(after))
    live = {difference.identity: difference.live for difference in made(after)}
    assert all(entry in made(before) for entry in kept)
    for difference in made(before):
        untouched = difference.identity in live and live[difference.identity] == difference.live
        assert (difference in kept) == untouched


# values by word, as a definition has them: in one order, some of them not there
WORDED = st.dictionaries(st.sampled_from(["owner", "type", "right a", "right b", "options"]), st.sampled_from("123"))


@given(WORDED, WORDED, WORDED)
def test_of_a_definition_what_a_script_did_not_touch_stays_as_it_was_recorded(
    recorded: dict[str, str], before: dict[str, str], now: dict[str, str]
) -> None:
    def text(values: dict[str, str]) -> str:
        lines = [f"{word}: {values[word]}" for word in ("owner", "type", "options") if word in values]
        return "\n".join([*lines, *(f"right: {w[-1]}={values[w]}/x" for w in ("right a", "right b") if w in values)])

    rights = str.maketrans("123", "rwd")
    three = [
        {word: value.translate(rights) if word.startswith("right") else value for word, value in each.items()}
        for each in (recorded, before, now)
    ]
    was, then, here = three
    expected = {}
    for word in was.keys() | then.keys() | here.keys():
        by_hand = then.get(word) != was.get(word) and here.get(word) == then.get(word)
        if (value := (was if by_hand else here).get(word)) is not None:
            expected[word] = value
    merged = definitions.restore_unchanged(*map(text, three))
    assert sorted(merged.splitlines()) == sorted(text(expected).splitlines())
    assert definitions.restore_unchanged(text(was), text(was), text(here)) == text(here)


MADE = """
    UPDATE pg_catalog.pg_attribute SET attoptions = array_append(attoptions, 'pg_attver=' || attrelid::int8)
     WHERE attnum > 0 AND attrelid IN ('s.log'::regclass, 's.log_1'::regclass, 's.seen'::regclass)
"""


def test_when_a_column_was_made_is_no_drift(empty_database: FreshDatabase) -> None:
    """Debian's PostgreSQL 17.12 notes it among a column's options; earlier versions of ours recorded it."""
    text = """
        CREATE SCHEMA s; CREATE TABLE s.log (at int NOT NULL, v int) PARTITION BY RANGE (at);
        ALTER TABLE s.log ALTER v SET (n_distinct = 5); CREATE VIEW s.seen AS SELECT at, v FROM s.log;
        COMMENT ON COLUMN s.seen.v IS 'x';
    """
    empty_database.apply(scripts=(script(text),))
    empty_database.do(
        "SET ROLE schema_owner; CREATE TABLE s.log_1 PARTITION OF s.log FOR VALUES FROM (1) TO (2); RESET ROLE;" + MADE
    )
    assert words(empty_database) == ()
    empty_database.do(
        r"""
        UPDATE pgstack.object SET definition = 'options: pg_attver=7' WHERE identity = 's.seen.at';
        UPDATE pgstack.object SET definition = E'options: pg_attver=7\n' || definition WHERE identity = 's.seen.v';
        UPDATE pgstack.object SET definition = definition || E'\noptions: pg_attver=7' WHERE identity = 's.log.at';
        UPDATE pgstack.object SET definition = replace(definition, 'n_distinct=5', 'n_distinct=5, pg_attver=7')
         WHERE identity = 's.log.v'
        """
    )
    assert empty_database.ask("SELECT count(*) FROM pgstack.object WHERE definition ~ 'pg_attver'") == [(4,)]
    assert words(empty_database) == ()
    empty_database.do(
        "UPDATE pg_catalog.pg_attribute SET attoptions = '{n_distinct=6,pg_attver=8}'"
        " WHERE attrelid = 's.log'::regclass AND attname = 'v'"
    )
    assert words(empty_database) == ("column s.log.v was changed: options is n_distinct=6, was n_distinct=5",)
