"""A volume that Compose made is adopted: everything in it is there afterwards, and belongs to the scripts' owner."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from pgvector_stacks.config.environment import DEFAULT_SCRIPTS, ROOT
from pgvector_stacks.connections.connection import connect
from tests.docker.conftest import PG15, DockerStack, Make
from tests.docker.old_way import PASSWORD, PROJECT, OldWay, old_way

pytestmark = [pytest.mark.engine, pytest.mark.docker]
old = pytest.fixture(old_way)

ROWS = """
INSERT INTO app.tenant (name) VALUES ('Ærøskøbing'), ('東京'), ('naïve café');
INSERT INTO app.document (tenant_id, title) SELECT 1 + i % 3, 'título ' || i FROM generate_series(1, 50) i;
INSERT INTO app.chunk (document_id, position, content)
SELECT 1 + i % 50, i, 'Straße ' || i FROM generate_series(1, 600) i;
SELECT setseed(0.42);
INSERT INTO app.embedding (chunk_id, model, embedding)
SELECT chunk_id, 'test', ARRAY(SELECT random() + 0 * chunk_id * i FROM generate_series(1, 384) i)::vector
  FROM app.chunk;
CREATE SEQUENCE app.invoice_number;
SELECT setval('app.invoice_number', 4711);
CREATE TABLE app.invoice (number bigint PRIMARY KEY DEFAULT nextval('app.invoice_number'), total numeric NOT NULL);
INSERT INTO app.invoice (total) SELECT i FROM generate_series(1, 10) i;
CREATE VIEW app.total AS SELECT sum(total) FROM app.invoice;
CREATE ROLE reporting LOGIN PASSWORD 'report';
GRANT USAGE ON SCHEMA app TO reporting;
GRANT SELECT ON app.tenant TO reporting;
"""
# what 0.8.0 added, so that ALTER EXTENSION vector UPDATE has something to add
AS_0_7_4 = (
    "".join(
        f"ALTER EXTENSION vector DROP CAST ({kind}[] AS {{0}}.sparsevec);"
        f"DROP CAST ({kind}[] AS {{0}}.sparsevec);"
        f"ALTER EXTENSION vector DROP FUNCTION {{0}}.array_to_sparsevec({kind}[], integer, boolean);"
        f"DROP FUNCTION {{0}}.array_to_sparsevec({kind}[], integer, boolean);"
        for kind in ("integer", "real", "double precision", "numeric")
    )
    + "UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector';"
)
NEAREST = """
SELECT array_agg(chunk_id) FROM (
    SELECT chunk_id FROM app.embedding ORDER BY embedding <=> (SELECT embedding FROM app.embedding WHERE chunk_id = 17)
     LIMIT 10) found
"""
FIGURES = {
    "rows": "SELECT (SELECT count(*) FROM app.tenant) || '/' || (SELECT count(*) FROM app.document) || '/' || "
    "(SELECT count(*) FROM app.chunk) || '/' || (SELECT count(*) FROM app.embedding) || '/' || "
    "(SELECT count(*) FROM app.invoice)",
    "content": "SELECT md5(string_agg(e::text, '|' ORDER BY chunk_id)) FROM app.embedding e",
    "text": "SELECT string_agg(name, ',' ORDER BY name) FROM app.tenant",
    "order": "SELECT md5(string_agg(title, ',' ORDER BY title)) FROM app.document",
    "indexes": "SELECT string_agg(relname || ' ' || relfilenode, ',' ORDER BY relname) FROM pg_class "
    "WHERE relkind = 'i' AND relnamespace = 'app'::regnamespace",
    "sequence": "SELECT last_value::text FROM app.invoice_number",
    "exact": f"SET enable_indexscan = off; {NEAREST}",
}  # fmt: skip


def adopting(make: Make, old: OldWay, **keys: Any) -> DockerStack:
    given = {"image": PG15, "adoptVolume": old.name, "database": old.database, "baseline": list(DEFAULT_SCRIPTS)}
    return make("dev", **(given | keys))


def figures(ask: Callable[[str], str]) -> dict[str, str]:
    return {name: ask(query).splitlines()[-1] for name, query in FIGURES.items()}


def log_in(stack: DockerStack, role: str, password: str) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host="127.0.0.1", port=stack.port, user=role, password=password, dbname="shop", autocommit=True
    )


@pytest.mark.promise("A volume of docker compose is adopted with all its rows, indexes and roles")
def test_a_volume_of_compose_is_adopted_with_all_its_rows_indexes_and_roles(
    make: Make, old: Callable[..., OldWay]
) -> None:
    before = old()
    before.make()
    before.psql(ROWS)
    before.psql(AS_0_7_4.format("app"))
    known = figures(before.psql)
    assert known["rows"] == "3/50/600/600/10"
    stack = adopting(make, before)

    # while Compose's container is there, running or not, nothing happens
    said = stack.fails("preview", "dev")
    assert f"volume: {before.name} is still used by {before.name} (running)" in said
    assert "docker compose --project-name shop down --timeout 120   (without -v" in said
    before.container.stop()
    assert f"{before.name} (stopped)" in stack.refused()
    before.down()
    untouched = before.listing()

    said = stack.ok("preview", "dev")
    assert f"adopts volume {before.name}: moves PostgreSQL 15's data, now in its root, into 15/docker" in said
    assert before.listing() == untouched

    said = stack.up()
    assert "the superuser app is called app_superuser now" in said
    assert re.search(r"took over \d+ objects of the adopted database for schema_owner", said)

    def ask(query: str) -> str:
        with connect(stack.admin(), own_path=True) as connection:
            for each in query.split(";"):
                found = connection.execute(each.encode())
            return str(found.fetchall()[0][0])

    now = figures(ask)
    assert re.findall(r"\d+", now.pop("exact")) == re.findall(r"\d+", known.pop("exact"))
    assert now.pop("indexes").split(",") == known.pop("indexes").split(",")
    assert now == known
    assert ask("SELECT nextval('app.invoice_number')") == str(int(known["sequence"]) + 1)
    assert ask("SELECT extversion FROM pg_extension WHERE extname = 'vector'") == "0.8.0"
    arrays = "casttarget = 'app.sparsevec'::regtype AND castsource::regtype::text LIKE '%[]'"
    assert ask(f"SELECT count(*) FROM pg_cast WHERE {arrays}") == "4"
    assert "embedding_hnsw" in ask(f"SET enable_seqscan = off; EXPLAIN (FORMAT JSON) {NEAREST}")
    found, exact = (
        set(re.findall(r"\d+", ask(query))) for query in (f"SET enable_seqscan = off; {NEAREST}", FIGURES["exact"])
    )
    assert len(found & exact) >= 9
    validation = stack.outputs()["validation"]
    assert validation["existing vector indexes"] == "ok: 1 agree with the exact scan"
    assert validation["collations"] == "ok: collation versions agree"

    # the ledger says what was there, and that it was not run
    assert stack.ask("SELECT name, baseline FROM pgstack.ledger ORDER BY position") == [
        (name, True) for name in DEFAULT_SCRIPTS
    ]
    assert stack.ask("SELECT count(*), min(by_whom) IS NOT NULL FROM pgstack.event WHERE kind = 'adopted'") == [
        (1, True)
    ]
    owners = "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'app'::regnamespace"
    assert stack.ask(owners) == [("schema_owner",)]

    # roles: the application's own keep their passwords, the superuser its powers, `app` has none
    with log_in(stack, "reporting", "report") as connection:
        assert connection.execute("SELECT count(*) FROM app.tenant").fetchone() == (3,)
    with log_in(stack, "app_superuser", PASSWORD) as connection:
        assert connection.execute("SHOW is_superuser").fetchone() == ("on",)
    with psycopg.connect(stack.outputs()["appUrl"], autocommit=True) as connection:
        assert connection.execute("SHOW is_superuser").fetchone() == ("off",)
        connection.execute("INSERT INTO tenant (name) VALUES ('new')")
        connection.execute("INSERT INTO invoice (total) VALUES (1)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE app.mine ()")

    # nothing is left to do, the volume stays what it was, and scripts can change what they did not make
    labels = stack.client.volumes.get(before.name).attrs["Labels"]
    assert labels["com.docker.compose.project"] == PROJECT
    assert "is up: unchanged" in stack.up()
    stack.ok("preview", "dev", "--expect-no-changes")
    stack.configure(adoptVolume=None)
    assert f"this stack's data is in the volume {before.name}, which it adopted" in stack.fails("preview", "dev")
    stack.configure(adoptVolume=before.name)
    stack.add_script("ALTER TABLE app.tenant ADD COLUMN note text; DROP VIEW app.total;", "0004_note.sql")
    said = stack.up()
    assert "Volume" not in said
    assert ask("SELECT count(*) FROM app.tenant WHERE note IS NULL") == "4"
    assert f"its data stays in the volume {before.name}" in stack.ok("down", "dev", "--yes")
    assert stack.client.volumes.get(before.name).attrs["Labels"] == labels
    stack.up()
    assert ask("SELECT count(*) FROM app.tenant") == "4"
    assert "is up: unchanged" in stack.up()

    # the way back, as the documentation tells it
    stack.ok("down", "dev", "--yes")
    told = (ROOT / "docs" / "upgrade.md").read_text()
    (move_back,) = re.findall(r"-ec '(.*)'", told)
    (roles,) = re.findall(r"^ *(DROP OWNED BY .*)$", told, re.MULTILINE)
    before.in_volume(f"set -e; {move_back}", user="root")
    before.up()
    before.psql(roles, user="postgres")
    assert before.psql("SELECT count(*) FROM app.embedding") == "600"
    assert before.psql("SHOW is_superuser") == "on"
