"""`pgstack reset`: every script again in an empty database, seconds later; where it is refused, nothing is lost."""

from __future__ import annotations

import psycopg
import pytest

from pgvector_stacks.connections.connection import connect
from pgvector_stacks.connections.up_lock import hold_up_lock
from tests.engine.checkout import Checkout

pytestmark = pytest.mark.engine


@pytest.mark.promise("`reset` runs every script in an empty database; roles and passwords stay")
def test_after_another_branch_every_script_runs_again(deployed: Checkout) -> None:
    deployed.add_script("create table app.of_a_branch (i int);", "0004_branch.sql")
    deployed.ok("up")
    before = deployed.outputs()
    deployed.configure(scripts=None)
    (deployed.root / "sql" / "0004_branch.sql").unlink()
    init = deployed.root / "sql" / "init.sql"
    init.write_text(init.read_text() + "\ncreate table app.of_main (i int);\n")
    assert "start again with an empty database:  pgstack reset local" in deployed.fails("up")

    with connect(deployed.admin(), application="somebody") as somebody:
        said = deployed.ok("reset")
        assert "dropped the database app; the server and its roles stay" in said
        with pytest.raises(psycopg.OperationalError):
            somebody.execute("SELECT 1")
    assert deployed.ask("SELECT to_regclass('app.of_a_branch') IS NULL, to_regclass('app.of_main') IS NULL") == [
        (True, False)
    ]
    assert deployed.ask("SELECT count(*) FROM pgstack.ledger") == [(3,)]
    after = deployed.outputs()
    assert {name: after[name] for name in ("appUrl", "port")} == {name: before[name] for name in ("appUrl", "port")}
    with psycopg.connect(after["appUrl"]) as application:
        application.execute("SELECT count(*) FROM app.tenant")
    assert "unchanged" in deployed.ok("up")


def test_where_it_is_refused_nothing_is_lost(deployed: Checkout) -> None:
    deployed.do("INSERT INTO app.tenant (name) VALUES ('kept')")
    assert "the data of production is protected (pgvector:volume: protect)" in deployed.fails("reset", "production")
    said = deployed.fails("reset", "dev")
    assert "`reset` deletes the database app of dev: its name has to be typed" in said
    assert "--yes" in said
    script = deployed.root / "sql" / "init.sql"
    text = script.read_text()
    script.write_text(text + "select 'no end")
    assert "sql/init.sql:" in deployed.fails("reset")
    script.write_text(text)
    deployed.configure(lockWaitS=1)
    with hold_up_lock(deployed.admin(), 1.0):
        assert "another `up`" in deployed.fails("reset")
    assert deployed.ask("SELECT count(*) FROM app.tenant WHERE name = 'kept'") == [(1,)]
