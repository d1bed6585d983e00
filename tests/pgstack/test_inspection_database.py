"""status and verify against a real database: behind locks, and where row security hides rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvector_stacks.cli import inspection
from pgvector_stacks.cli.inspection import DatabaseAddresses
from pgvector_stacks.common import row_values
from pgvector_stacks.common.errors import ValidationFailed
from pgvector_stacks.config.environment import Environment
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.migrations import apply
from pgvector_stacks.migrations.scripts import row_security
from tests.conftest import FreshDatabase, script

FORCED = """
CREATE TABLE app.doc (id int, tenant int, title text, lang text);
INSERT INTO app.doc VALUES (1, 1, NULL, NULL), (2, 2, 'x', NULL);
ALTER TABLE app.doc ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.doc FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON app.doc USING (tenant = nullif(current_setting('app.tenant', true), '')::int);
"""


def test_status_waits_for_no_lock_and_says_what_it_does_not_know(fresh_database: FreshDatabase) -> None:
    fresh_database.apply(script("CREATE TABLE app.held (id int DEFAULT 7, CHECK (id > 0))"))
    said: list[str] = []
    with connect(fresh_database.admin, autocommit=False) as other:
        other.execute("LOCK TABLE app.held")
        inspection.status(DatabaseAddresses(fresh_database.admin), "local", said.append)
    assert any(line.startswith("drift    not known: another transaction holds a lock") for line in said)


def test_a_script_that_row_security_hides_rows_from_is_told_so(fresh_database: FreshDatabase) -> None:
    first = script(FORCED)
    fresh_database.apply(first)
    for text, warned in (
        ("UPDATE app.doc SET lang = 'en'", True),
        ("SET row_security = on; UPDATE app.doc SET lang = 'en'", False),
        ("UPDATE app.document SET title = 'en'", False),
    ):
        said: list[str] = []
        with connect(fresh_database.admin) as admin:
            said = row_security.warn_of_hidden_rows(admin, [script(text, "0005_more.sql")])
        assert [line.splitlines()[0].split(":")[1] for line in said] == (
            [" app.doc has FORCE ROW LEVEL SECURITY"] if warned else []
        )
    heard: list[str] = []
    request = fresh_database.request(first, script("UPDATE app.doc SET lang = 'en'", "0005_more.sql"))
    apply.apply(fresh_database.admin, request, warn=heard.append)
    assert "sees only the rows that its policies let" in heard[0]


def test_a_script_is_told_so_of_a_view_of_another_role_s_table_and_of_what_the_same_up_made_so(
    fresh_database: FreshDatabase,
) -> None:
    role = f"other_{fresh_database.admin.database}"
    try:
        fresh_database.do(
            f"CREATE ROLE {role}; CREATE TABLE app.theirs (id int); ALTER TABLE app.theirs ENABLE ROW LEVEL SECURITY;"
            f"ALTER TABLE app.theirs OWNER TO {role}; GRANT ALL ON app.theirs TO schema_owner"
        )
        first = script(FORCED + "CREATE VIEW app.seen AS SELECT * FROM app.doc;")
        more = script("UPDATE app.seen SET lang = 'en'; DELETE FROM app.theirs", "0005_more.sql")
        heard: list[str] = []
        apply.apply(fresh_database.admin, fresh_database.request(first, more), warn=heard.append)
        assert [line.partition(": the script")[0] for line in heard] == [
            f"sql/0005_more.sql: app.theirs has row level security and belongs to {role}",
            "sql/0005_more.sql: app.seen reads app.doc, which has FORCE ROW LEVEL SECURITY",
        ]
    finally:
        fresh_database.do(f"DROP TABLE app.theirs; DROP ROLE {role}")


def test_a_verify_script_does_not_pass_over_rows_it_may_not_see(
    fresh_database: FreshDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(row_values.VARIABLE, "1")
    fresh_database.apply(script(FORCED))
    (tmp_path / "verify").mkdir()
    query = "SELECT id, 'has no title' AS problem FROM app.doc WHERE title IS NULL;"
    (tmp_path / "verify" / "010.sql").write_text(query)
    (tmp_path / "verify" / "020.sql").write_text(
        f"SET LOCAL row_security = on; DO $$ BEGIN PERFORM set_config('app.tenant', '1', true); END $$; {query}"
    )
    monkeypatch.setattr(inspection, "SQL", tmp_path)
    monkeypatch.setattr(Environment, "server_settings", fresh_database.server.settings)
    said: list[str] = []
    checks = list(inspection.verify(DatabaseAddresses(fresh_database.admin), "local", said.append))
    with pytest.raises(ValidationFailed, match=r"2 check\(s\) failed"):
        inspection.refuse_failed(checks, "local")
    said += [each.line for each in checks]
    assert "row-level security" in "\n".join(line for line in said if "010.sql" in line)
    assert "id=1, problem=has no title" in "\n".join(said)


@pytest.mark.parametrize(
    "setting", ["ALTER DATABASE {} SET datestyle = German", "ALTER ROLE postgres SET datestyle = 'SQL, DMY'"]
)
def test_dates_are_read_however_database_and_role_write_them(fresh_database: FreshDatabase, setting: str) -> None:
    fresh_database.do(setting.format(fresh_database.admin.database))
    try:
        said: list[str] = []
        inspection.status(DatabaseAddresses(fresh_database.admin), "local", said.append)
        assert any(line.startswith("applied  sql/") for line in said)
        fresh_database.apply(script("CREATE TABLE app.more (id int)"))
    finally:
        fresh_database.do("ALTER ROLE postgres RESET datestyle")
