"""What a hand changed stays drift where a script renames its schema, or what it names."""

from __future__ import annotations

import pytest

from tests.conftest import FreshDatabase, script
from tests.postgres.test_drift_kept import bring_up, words

NAMED_BY_OTHERS = script(
    """
    CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY, n int, CONSTRAINT small CHECK (n < 9)); CREATE SEQUENCE s.q;
    CREATE TABLE s.u (id int DEFAULT nextval('s.q'), m int); ALTER TABLE s.u ENABLE ROW LEVEL SECURITY;
    CREATE VIEW s.v AS SELECT id, n FROM s.t; CREATE INDEX i ON s.t ((n + 1));
    CREATE FUNCTION s.f() RETURNS bigint STABLE BEGIN ATOMIC SELECT count(*) FROM s.t; END;
    CREATE POLICY p ON s.u USING (m IN (SELECT n FROM s.t));
    CREATE RULE r AS ON INSERT TO s.u DO ALSO DELETE FROM s.t WHERE n = 1;
    """,
    "0001.sql",
)
HANDS = """
    CREATE OR REPLACE VIEW s.v AS SELECT id, n FROM s.t WHERE n > 1; CREATE VIEW s.hand AS SELECT n FROM s.t;
    DROP INDEX s.i; CREATE INDEX i ON s.t ((n + 2));
    CREATE OR REPLACE FUNCTION s.f() RETURNS bigint STABLE BEGIN ATOMIC SELECT count(*) FROM s.t WHERE n > 1; END;
    ALTER POLICY p ON s.u USING (m IN (SELECT n FROM s.t WHERE n > 1));
    CREATE OR REPLACE RULE r AS ON INSERT TO s.u DO ALSO DELETE FROM s.t WHERE n = 2;
    ALTER TABLE s.u ALTER id SET DEFAULT nextval('s.q') + 1;
    ALTER TABLE s.t DROP CONSTRAINT small; ALTER TABLE s.t ADD CONSTRAINT small CHECK (n < 10);
    CREATE INDEX made ON s.t ((n + 3));
"""


@pytest.mark.parametrize("head", ["", "-- pgstack: no-transaction\n"])
def test_what_was_changed_by_hand_stays_drift_where_a_script_renames_what_it_names(
    empty_database: FreshDatabase, head: str
) -> None:
    bring_up(empty_database, NAMED_BY_OTHERS)
    empty_database.do(HANDS)
    before = [line.split(" was ")[0] for line in words(empty_database)]
    assert len(before) == 9
    renames = "ALTER TABLE s.t RENAME n TO num; ALTER SEQUENCE s.q RENAME TO numbers; ALTER TABLE s.t RENAME TO t2"
    bring_up(empty_database, NAMED_BY_OTHERS, script(head + renames, "0002.sql"))
    after = [line.split(" was ")[0] for line in words(empty_database)]
    assert after == sorted(name.replace("s.t.", "s.t2.") for name in before)
    # what a script writes is the scripts', and what it makes as it was recorded is none
    again = "CREATE OR REPLACE VIEW s.v AS SELECT id, num AS n FROM s.t2 WHERE num > 2; DROP INDEX s.made"
    bring_up(empty_database, NAMED_BY_OTHERS, script(head + renames, "0002.sql"), script(again, "0003.sql"))
    last = [line.split(" was ")[0] for line in words(empty_database)]
    assert set(after) - set(last) == {"view s.v", "index s.t2.made"}
    assert set(last) < set(after)


@pytest.mark.parametrize("head", ["", "-- pgstack: no-transaction\n"])
def test_what_was_changed_by_hand_goes_along_with_its_schema(empty_database: FreshDatabase, head: str) -> None:
    first = script(
        "CREATE SCHEMA s; CREATE TYPE s.mood AS ENUM ('a'); CREATE SEQUENCE s.q; CREATE DOMAIN s.d AS int;"
        "CREATE FUNCTION s.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "0001.sql",
    )
    bring_up(empty_database, first)
    empty_database.do(
        "ALTER TYPE s.mood ADD VALUE 'b'; ALTER SEQUENCE s.q MAXVALUE 9; DROP DOMAIN s.d;"
        "GRANT CREATE ON SCHEMA s TO app;"
        "CREATE OR REPLACE FUNCTION s.f(int) RETURNS int LANGUAGE sql AS 'SELECT 2';"
        "CREATE FUNCTION s.hand() RETURNS int LANGUAGE sql AS 'SELECT 3'"
    )
    before = words(empty_database)
    assert len(before) == 6
    bring_up(empty_database, first, script(f'{head}ALTER SCHEMA s RENAME TO "s 2"', "0002.sql"))
    expected = [line.replace(" s.", ' "s 2".').replace("schema s ", 'schema "s 2" ') for line in before]
    assert words(empty_database) == tuple(sorted(expected))


@pytest.mark.parametrize("head", ["", "-- pgstack: no-transaction\n", "-- pgstack: no-transaction\nBEGIN;\n"])
def test_what_a_script_drops_and_creates_again_is_the_scripts(empty_database: FreshDatabase, head: str) -> None:
    """Also as a hand had made it: a fix in production that is written into a script afterwards."""
    first = script(
        "CREATE SCHEMA s; CREATE TABLE s.t (id int, n int); CREATE VIEW s.v AS SELECT id FROM s.t;"
        "CREATE TABLE s.u (id int); CREATE INDEX i ON s.u (id)",
        "0001.sql",
    )
    view = "CREATE VIEW s.v AS SELECT id FROM s.t WHERE n > 1"
    table = "CREATE TABLE s.hand (id int PRIMARY KEY, n int CHECK (n > 0))"
    other = "CREATE TABLE s.u (id int, more int)"
    bring_up(empty_database, first)
    empty_database.do(
        f"{view.replace('CREATE', 'CREATE OR REPLACE')}; {table}; ALTER TABLE s.hand OWNER TO schema_owner;"
        "ALTER TABLE s.u ADD more int; DROP INDEX s.i; ALTER TABLE s.t ADD stays int"
    )
    again = f"{head}DROP VIEW s.v; {view}; DROP TABLE s.hand; {table}; DROP TABLE s.u; {other}"
    again += "; COMMIT" if "BEGIN" in head else ""
    bring_up(empty_database, first, script(again, "0002.sql"))
    assert words(empty_database) == ("column s.t.stays was added (integer)",)


@pytest.mark.parametrize("head", ["", "-- pgstack: no-transaction\n"])
def test_what_was_made_by_hand_stays_drift_where_a_script_gives_rights_on_all(
    empty_database: FreshDatabase, head: str
) -> None:
    first = script("CREATE SCHEMA s; CREATE TABLE s.t (id int)", "0001.sql")
    sequence, function = "CREATE SEQUENCE s.q", "CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1'"
    bring_up(empty_database, first)
    empty_database.do(
        f"SET ROLE schema_owner; CREATE TABLE s.hand (id int PRIMARY KEY); CREATE VIEW s.v AS SELECT id FROM s.t;"
        f"{sequence}; {function}; CREATE PROCEDURE s.p() LANGUAGE sql AS 'SELECT 1'; CREATE TYPE s.e AS ENUM ('a')"
    )
    before = words(empty_database)
    assert len(before) == 6
    given = script(
        f"{head}GRANT SELECT ON ALL TABLES IN SCHEMA s TO PUBLIC; GRANT USAGE ON ALL SEQUENCES IN SCHEMA s TO PUBLIC;"
        "REVOKE EXECUTE ON ALL ROUTINES IN SCHEMA s FROM PUBLIC; REVOKE USAGE ON TYPE s.e FROM PUBLIC;"
        "COMMENT ON TABLE s.hand IS 'x'",
        "0002.sql",
    )
    bring_up(empty_database, first, given)
    assert words(empty_database) == before
    again = f"{head}DROP SEQUENCE s.q; {sequence}; DROP FUNCTION s.f; {function}; REVOKE ALL ON FUNCTION s.f FROM app"
    bring_up(empty_database, first, given, script(again, "0003.sql"))
    assert set(before) - set(words(empty_database)) == {"sequence s.q was added", "function s.f() was added"}
