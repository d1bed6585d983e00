"""What somebody did to the stack's own roles by hand is told, and the next `up` puts it right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pgvector_stacks.common import definitions
from pgvector_stacks.common.difference import Difference
from pgvector_stacks.connections import roles, up_lock
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.inspection import role_drift, schema_drift
from pgvector_stacks.inspection.role_drift import Role, describe_faults, matches_verifier, split_repairable
from tests.conftest import ROLE_LIMITS, FreshDatabase, bring_up_template, script

SCRIPT = script(
    "CREATE SCHEMA s; CREATE TABLE s.item (id int, secret text); CREATE VIEW s.seen AS SELECT id FROM s.item;"
    "CREATE SEQUENCE s.numbers; GRANT SELECT (secret) ON s.item TO readonly; CREATE FUNCTION s.f(v int) RETURNS int "
    "LANGUAGE sql RETURN v; CREATE VIEW s.part AS SELECT * FROM s.item; GRANT SELECT (id) ON s.part TO readonly;"
    " REVOKE EXECUTE ON FUNCTION s.f FROM PUBLIC; GRANT EXECUTE ON FUNCTION s.f TO app;"
    "CREATE FUNCTION s.st(a float8, b float8) RETURNS float8 LANGUAGE sql AS 'SELECT a';"
    "CREATE AGGREGATE s.pct(float8 ORDER BY float8) (sfunc = s.st, stype = float8, finalfunc = s.st);"
    "REVOKE ALL ON FUNCTION s.pct FROM PUBLIC; GRANT EXECUTE ON FUNCTION s.pct TO app",
    "0001.sql",
)


@pytest.fixture
def stack(empty_database: FreshDatabase) -> Iterator[FreshDatabase]:
    bring_up(empty_database)
    try:
        yield empty_database
    finally:
        empty_database.do("DROP ROLE IF EXISTS team")
        bring_up(empty_database)  # the roles are the server's: other tests want them whole


def bring_up(database: FreshDatabase) -> None:
    database.bring_up(scripts=(SCRIPT,))


def told(database: FreshDatabase) -> role_drift.SortedDrift:
    passwords = {role: [database.app_password] for role in role_drift.LOGINS}
    with connect(database.admin) as connection:
        return role_drift.sort_drift(
            schema_drift.find_drift_unless_locked(connection),
            role_drift.find_faults(connection, passwords, ROLE_LIMITS),
        )


@pytest.mark.promise("Changes by hand to the stack's own roles are reported, and the next `up` repairs them")
def test_what_was_done_to_our_roles_is_told_and_mended_by_the_next_up(stack: FreshDatabase) -> None:
    assert told(stack) == role_drift.SortedDrift((), ())
    name = stack.admin.database
    stack.do(
        "ALTER ROLE app PASSWORD 'other' VALID UNTIL '2020-01-01' CONNECTION LIMIT 0 CREATEDB;"
        "GRANT schema_owner TO app;"
        f"ALTER ROLE readonly NOLOGIN; REVOKE CONNECT ON DATABASE {name} FROM readonly;"
        "REVOKE USAGE ON SCHEMA s FROM readonly; REVOKE SELECT ON s.item, s.seen FROM app;"
        "REVOKE ALL ON s.numbers FROM app;"
        "REVOKE SELECT (secret) ON s.item FROM readonly; REVOKE SELECT (id) ON s.part FROM readonly;"
        "REVOKE EXECUTE ON FUNCTION s.f, s.pct FROM app"
    )
    seen = told(stack)
    assert seen.drift == ()
    lines = "\n".join(seen.repairable)
    for expected in (
        "role app has CREATEDB", "role app is a member of schema_owner", "valid until 2020-01-01",
        "may have 0 connections",
        "role app has another password than the stack's", "role readonly can't log in", "role readonly lost CONNECT",
        "schema s was changed: readonly lost USAGE", "table s.item was changed: app lost SELECT",
        "view s.seen was changed: app lost SELECT", "column s.item.secret was changed: readonly lost SELECT",
        "function s.f(v integer) was changed: app lost EXECUTE",
        "aggregate s.pct(double precision ORDER BY double precision) was changed: app lost EXECUTE",
        "sequence s.numbers was changed: app lost SELECT, USAGE",
    ):  # fmt: skip
        assert expected in lines
    assert "other" not in lines.replace("another", "")
    bring_up(stack)
    assert told(stack) == role_drift.SortedDrift((), ())
    for role in role_drift.LOGINS:
        with connect(stack.as_role(role)) as connection:
            connection.execute("SELECT 1 FROM s.item, s.seen")


def test_a_dropped_role_is_told_and_made_again_with_all_its_rights(stack: FreshDatabase) -> None:
    with connect(replace(stack.admin, database="postgres")) as cluster:
        others = cluster.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()
    for (other,) in others:  # a role has rights in the databases of other tests, too
        with connect(replace(stack.admin, database=other)) as connection:
            connection.execute("DROP OWNED BY readonly CASCADE")
    stack.do("DROP ROLE readonly")
    seen = told(stack)
    assert "role readonly was dropped" in seen.repairable
    assert "view s.seen was changed: readonly lost SELECT" in seen.repairable
    bring_up(stack)
    assert told(stack) == role_drift.SortedDrift((), ())
    with connect(stack.as_role("readonly")) as connection:
        connection.execute("SELECT secret FROM s.item, s.seen")
    bring_up_template(stack.server)


def test_a_right_that_others_gained_is_left_to_people(stack: FreshDatabase) -> None:
    stack.do("GRANT SELECT ON s.item TO PUBLIC; REVOKE INSERT ON s.item FROM app")
    gained, lost = "table s.item was changed: PUBLIC gained SELECT", "table s.item was changed: app lost INSERT"
    assert told(stack) == role_drift.SortedDrift((gained,), (lost,))
    bring_up(stack)  # gives back what our role lost, takes nothing
    assert told(stack) == role_drift.SortedDrift((gained,), ())


def test_what_was_taken_from_its_owner_gives_the_owner_no_rights_back(stack: FreshDatabase) -> None:
    """With TRIGGER on it, a script's function would run as the administrator that writes to it."""
    stack.do("ALTER TABLE s.item OWNER TO postgres; REVOKE INSERT ON s.item FROM app; ALTER SCHEMA s OWNER TO postgres")
    bring_up(stack)
    assert stack.ask("SELECT has_table_privilege('schema_owner', 's.item', 'SELECT, TRIGGER')") == [(False,)]
    assert stack.ask("SELECT has_schema_privilege('schema_owner', 's', 'CREATE')") == [(False,)]
    assert stack.ask("SELECT has_table_privilege('app', 's.item', 'INSERT')") == [(False,)]
    seen = told(stack)
    assert any(line.startswith("table s.item was changed: owner is postgres") for line in seen.drift), seen
    assert seen.repairable == ()


@pytest.mark.parametrize("password", ["simple", "p@ss:w/rd?#[]%25 &=é\"'\\$x", "ﬁancé ²", "\u00a0x"])
def test_a_password_is_compared_as_the_server_does_without_asking_it(stack: FreshDatabase, password: str) -> None:
    with connect(stack.admin) as connection:
        made = connection.pgconn.encrypt_password(password.encode(), b"app", b"scram-sha-256").decode()
    assert matches_verifier(password, made)
    assert not matches_verifier(password + "x", made)


LETTERS = st.dictionaries(
    st.sampled_from(["app", "readonly", "schema_owner", "other", '"o t"', ""]),
    st.text("rawd", min_size=1, max_size=4).map(lambda text: "".join(sorted(set(text)))),
)
REST = st.sampled_from(["type: integer", "type: bigint", "comment: x\n  right: app=r/x"])


def table(rights: dict[str, str], rest: str) -> str:
    lines = [f"right: {grantee}={letters}/schema_owner" for grantee, letters in rights.items()]
    return "\n".join(["owner: schema_owner", *sorted(lines), rest])


@given(LETTERS, LETTERS, REST, REST)
def test_a_difference_parts_into_what_an_up_gives_back_and_the_rest(
    was: dict[str, str], now: dict[str, str], recorded: str, live: str
) -> None:
    whole = Difference("table", "s.t", table(was, recorded), table(now, live))
    assume(whole.recorded != whole.live)
    mended, rest = split_repairable(whole)
    assert mended or rest
    given_back = whole.live if mended is None else mended.recorded
    before, after = (
        definitions.parse_acl(definitions.parse(str(text)).get("right", [])) for text in (given_back, whole.live)
    )
    kept = {role for role, letters in now.items() if set(letters) - set(was.get(role, ""))}
    expected = {
        (role, definitions.PRIVILEGES[letter])
        for role, letters in was.items()
        if role in role_drift.OURS and role not in kept
        for letter in letters
        if letter not in now.get(role, "")
    }
    assert {(right.grantee, right.privilege) for right in before - after} == expected
    assert after <= before
    assert bool(mended) == bool(expected)
    if rest is not None:
        assert definitions.describe_changes(str(rest.recorded), str(rest.live))
        words = str(rest)
        assert all(f"{role} lost" not in words for role in role_drift.OURS if role not in kept)


def test_readonly_is_in_no_role_that_writes(stack: FreshDatabase) -> None:
    name = stack.admin.database
    stack.do(
        f"CREATE ROLE team; GRANT app TO team; GRANT team TO readonly; REVOKE CONNECT ON DATABASE {name} FROM readonly"
    )
    assert told(stack) == role_drift.SortedDrift((), ("role readonly is a member of team",))
    bring_up(stack)
    assert told(stack) == role_drift.SortedDrift((), ())
    connect(stack.as_role("readonly")).close()


def test_the_login_that_an_up_lends_the_owner_is_none_of_its_drift(stack: FreshDatabase) -> None:
    with up_lock.hold_up_lock(stack.admin, 5) as cluster, roles.open_owner_connection(cluster, stack.admin):
        assert told(stack) == role_drift.SortedDrift((), ())
    stack.do("ALTER ROLE schema_owner LOGIN")
    assert told(stack).repairable == ("role schema_owner may log in (LOGIN): only while an `up` works",)


def test_a_server_that_was_never_brought_up_has_no_wrong_roles() -> None:
    assert describe_faults([], {"app": ["x"]}) == ()
    app = Role("app", True, None, None, -1, (), (), True)
    assert describe_faults([app], {}) == ("role schema_owner was dropped", "role readonly was dropped")
