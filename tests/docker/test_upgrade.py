"""The version upgrade on a real Docker Engine: 15 (bookworm) to 17 (trixie) by changing the image and an `up`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import pytest

from postgres.connection import connect
from tests.docker.conftest import PG15, PG17, DockerStack, Make
from tests.docker.old_way import OldWay, old_way
from tests.docker.test_adoption import FIGURES, ROWS, adopting

pytestmark = [pytest.mark.engine, pytest.mark.docker]
old = pytest.fixture(old_way)
STEPS = ("prepare", "rehearse", "make the standby", "stop", "hand over", "transfer", "verify", "keep")
# all of them with `make test-upgrade`
FAULTS = int(os.environ.get("PGSTACK_UPGRADE_FAULTS", "2"))
KILLS = int(os.environ.get("PGSTACK_UPGRADE_KILLS", "1"))
# before any step, and between what two of them say
MOMENTS = (
    "upgrades PostgreSQL", "upgrade 15 → 17: rehearse", "make the standby", "upgrade 15 → 17: stop",
    "upgrade 15 → 17: hand over", "upgrade 15 → 17: transfer", "upgrade 15 → 17: verify", "upgrade 15 → 17: keep",
    "upgraded 15 → 17", "Container server creat", "Readiness ready updat",
)  # fmt: skip
EVERYTHING = FIGURES | {
    # the stack's own passwords are set anew by an `up`, with a salt of their own
    "roles": "SELECT string_agg(rolname || ' ' || CASE WHEN rolname IN ('app', 'readonly', 'postgres') THEN '' "
    "ELSE coalesce(md5(rolpassword), '-') END, ',' ORDER BY rolname) FROM pg_authid WHERE oid >= 16384",
    "grants": "SELECT string_agg(c.oid::regclass || ' ' || a.grantee::regrole || ' ' || a.privilege_type, ',' "
    "ORDER BY c.oid::regclass::text, a.grantee::regrole::text, a.privilege_type) "
    "FROM (SELECT oid, relacl FROM pg_class WHERE relnamespace = 'app'::regnamespace) c, "
    "LATERAL aclexplode(relacl) a WHERE a.privilege_type <> 'MAINTAIN'",
    "comments": "SELECT count(*)::text FROM pg_description WHERE objoid >= 16384 AND classoid = 'pg_class'::regclass",
    "large objects": "SELECT string_agg(md5(lo_get(oid)), ',' ORDER BY oid) FROM pg_largeobject_metadata",
    "publications": "SELECT string_agg(pubname, ',') FROM pg_publication",
    "parts": "SELECT string_agg(tableoid::regclass || ' ' || at, ',' ORDER BY at) FROM app.measured",
}
MORE = """
CREATE TABLE app.measured (at date NOT NULL, value int) PARTITION BY RANGE (at);
CREATE TABLE app.measured_2025 PARTITION OF app.measured FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE app.measured_2026 PARTITION OF app.measured FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO app.measured SELECT date '2025-12-25' + i, i FROM generate_series(1, 20) i;
COMMENT ON TABLE app.measured IS 'ein Maß';
CREATE INDEX by_title ON app.document (title);
CREATE INDEX ON app.embedding USING ivfflat (embedding vector_l2_ops) WITH (lists = 4);
SELECT lo_from_bytea(0, 'bytes');
CREATE PUBLICATION told FOR TABLE app.tenant;
"""


def asks(stack: DockerStack) -> Callable[[str], str]:
    """The last of several statements counts, as with psql."""

    def ask(text: str) -> str:
        with connect(stack.admin(), wait_s=10, application="test") as connection:
            cursor = connection.execute(text.encode())
            while cursor.nextset():
                pass
            return str(cursor.fetchall()[0][0])

    return ask


def everything(ask: Callable[[str], str]) -> dict[str, str]:
    found = {name: ask(query).splitlines()[-1] for name, query in EVERYTHING.items()}
    del found["indexes"]  # pg_upgrade makes files of new names
    return found


def test_a_database_of_compose_is_adopted_and_then_upgraded_with_everything_in_it(
    make: Make, old: Callable[..., OldWay]
) -> None:
    before = old()
    before.make(LANG="en_US.utf8")
    before.psql(ROWS)
    before.psql(MORE)
    before.psql('CREATE DATABASE "Second One"')
    before.down()
    stack = adopting(make, before)
    stack.up()
    ask = asks(stack)
    known = everything(ask)
    assert known["rows"] == "3/50/600/600/10"

    said = stack.ok("upgrade", "check", "dev", PG17)
    assert "upgrades PostgreSQL 15." in said
    stack.configure(image=PG17)
    said = stack.ok("preview", "dev")
    assert re.search(r"upgrades PostgreSQL 15\.\d+ → 17\.\d+, .* \(standby: about 5 s of downtime\)", said)
    assert re.search(r"needs .* free, keeps 15 for rollback", said)
    assert everything(ask) == known  # a preview changes nothing
    said = stack.up()
    assert re.search(r"down until here +\d+\.\d s", said)
    assert "2 vector indexes answer" in said
    assert "sorted anew" in said  # another C library
    assert "drift" not in said
    assert everything(ask) == known
    assert "17." in ask("SHOW server_version")
    assert "unchanged" in stack.up()
    assert ask("SELECT count(*) FROM pg_replication_slots") == "0"
    assert "replication" not in before.in_volume("cat /volume/pgstack-*/pg_hba.conf")

    # back again, as it was
    stack.do("INSERT INTO app.invoice (total) VALUES (99)")
    assert "set pgvector:image back" in stack.fails("upgrade", "rollback", "dev", "--yes")
    stack.configure(image=PG15)
    assert "downgrade" in stack.fails("preview", "dev")
    said = stack.ok("upgrade", "rollback", "dev", "--yes")
    assert "minutes since is given up" in said
    assert everything(ask) == known
    assert "15." in ask("SHOW server_version")
    assert "unchanged" in stack.up()

    # and forward once more, and done with it
    stack.configure(image=PG17)
    stack.up()
    assert everything(ask) == known
    said = stack.ok("upgrade", "confirm", "dev", "--yes")
    assert "15/docker" in said
    assert "17/docker.rolled-back" in said
    assert before.in_volume("ls -d /volume/*/docker*").split() == ["/volume/17/docker"]
    assert everything(ask) == known
    assert "nothing is kept" in stack.ok("upgrade", "confirm", "dev", "--yes")
    stack.configure(image=PG15)
    assert "was confirmed" in stack.fails("upgrade", "rollback", "dev", "--yes")
