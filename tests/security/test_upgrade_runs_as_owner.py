"""An upgrade between majors runs nothing that a schema's owner wrote with a superuser's rights, nor as the operator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.toolbox import embedded_toolbox
from pgvector_stacks.toolbox.interface import ServerConnection, passfile_line
from pgvector_stacks.upgrade import as_owners
from pgvector_stacks.upgrade.checks import statistics
from pgvector_stacks.upgrade.engines import embedded_upgrade
from tests.upgrade import servers
from tests.upgrade.servers import PASSWORD, Machine

OWNER = "script_owner"
CODE = r"""
CREATE FUNCTION public.strike(place text) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('ALTER ROLE %I SUPERUSER', '{owner}');
        EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'cat >>{out}/' || place);
    END IF;
    RETURN true;
END $$;
CREATE FUNCTION public.five(place text) RETURNS int IMMUTABLE LANGUAGE plpgsql
    AS 'BEGIN PERFORM public.strike(place); RETURN 5; END';
CREATE FUNCTION public.fine(place text) RETURNS bool IMMUTABLE LANGUAGE sql RETURN public.five(place) = 5;
"""
# PostgreSQL computes each of these while it makes the object; an IMMUTABLE function may call another
ATTACKS = r"""
CREATE DOMAIN public.bound AS int CHECK (VALUE > 0 AND public.fine('bound'));
CREATE TABLE public.p (i public.bound) PARTITION BY RANGE (i);
CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES FROM (1) TO (10);
CREATE DOMAIN public.state AS int CHECK (public.fine('aggregate'));
CREATE FUNCTION public.plus(public.state, int) RETURNS public.state LANGUAGE sql AS 'SELECT $1';
CREATE AGGREGATE public.agg(int) (SFUNC = public.plus, STYPE = public.state, INITCOND = '5');
CREATE TABLE public.q (i int) PARTITION BY RANGE (i);
CREATE TABLE public.q1 (i int CHECK (i > public.five('constraint') - 100));
ALTER TABLE public.q ATTACH PARTITION public.q1 FOR VALUES FROM (1) TO (10);
CREATE INDEX ON public.q1 (i) WHERE i > public.five('predicate');
CREATE TABLE public.g (i int, g int GENERATED ALWAYS AS (i + public.five('generated')) STORED);
CREATE TABLE public.d (i int, x public.bound DEFAULT 5, CHECK (public.fine('rows')));
INSERT INTO public.q VALUES (1); INSERT INTO public.g VALUES (1); INSERT INTO public.d VALUES (1);
"""
COLUMN = """
CREATE DOMAIN public.word AS text CHECK (public.fine(VALUE));
CREATE TABLE public.s (w public.word);
INSERT INTO public.s SELECT 'w' || i % 3 FROM generate_series(1, 99) AS i;
ANALYZE public.s;
"""


@contextmanager
def old_server(folder: Path) -> Iterator[Machine]:
    with servers.machine(folder) as machine:
        embedded_server.initialise(machine.old, PASSWORD)
        embedded_server.start(machine.old, servers.SETTINGS)
        with connect(machine.address(machine.old)) as connection:
            connection.execute("CREATE DATABASE app")
        yield machine


def test_no_code_of_an_owner_runs_as_the_superuser(tmp_path: Path) -> None:
    (out := tmp_path / "struck").mkdir()
    for path in (out, *list(out.parents)[:-2]):
        path.chmod(0o777)
    with old_server(tmp_path / "data") as machine:
        with connect(machine.address(machine.old, "app"), own_path=True) as connection:
            connection.execute(
                f"CREATE ROLE {OWNER}; GRANT CREATE ON SCHEMA public TO {OWNER}; SET ROLE {OWNER}".encode()
            )
            connection.execute((CODE + ATTACKS).format(owner=OWNER, out=out).encode())
        with pytest.raises(ServerError, match="pg_upgrade would run them with a superuser's rights") as refused:
            embedded_upgrade.upgrade(machine.job, PASSWORD, None, machine.said.append)
        assert "public.five(text)" in str(refused.value)
        assert "upgradeMethod: dump" in str(refused.value)
        assert machine.serving == machine.old
        embedded_upgrade.upgrade(machine.job, PASSWORD, "dump", machine.said.append)
        assert list(out.iterdir()) == []
        with connect(machine.address(machine.new, "app")) as connection:
            found = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", (OWNER,)).fetchall()
            assert found == [(False,)]
            assert connection.execute("SELECT count(*) FROM public.q").fetchall() == [(1,)]


def test_a_value_of_statistics_is_checked_by_nobody(tmp_path: Path) -> None:
    """From 18 on pg_upgrade puts them back as the superuser, and a domain's CHECK is computed for each value."""
    (out := tmp_path / "struck").mkdir()
    for path in (out, *list(out.parents)[:-2]):
        path.chmod(0o777)
    with old_server(tmp_path / "data") as machine:
        with connect(machine.address(machine.old, "app"), own_path=True) as connection:
            connection.execute(
                f"CREATE ROLE {OWNER}; GRANT CREATE ON SCHEMA public TO {OWNER}; SET ROLE {OWNER}".encode()
            )
            connection.execute((CODE + COLUMN).format(owner=OWNER, out=out).encode())
        with pytest.raises(ServerError, match=r"word \(public\.fine\(text\)\)"):
            embedded_upgrade.upgrade(machine.job, PASSWORD, None, machine.said.append)
        embedded_upgrade.upgrade(machine.job, PASSWORD, "dump", machine.said.append)
        assert list(out.iterdir()) == []
        statistics.analyze_missing(machine.address(machine.new))
        with connect(machine.address(machine.new, "app")) as connection:
            asked = "SELECT n_distinct FROM pg_stats WHERE tablename = 's'"
            assert connection.execute(asked).fetchall() == [(3,)]


# as pg_dumpall writes them
ROLES = r"""
CREATE ROLE app;
COMMENT ON ROLE app IS E'first
\\! touch {out}/struck
:x `touch {out}/struck`';
ALTER ROLE app SET search_path TO E'\\! touch {out}/struck';
CREATE ROLE postgres;
CREATE ROLE "a""b
\! touch {out}/struck";
"""


def test_no_word_of_a_role_is_a_command_of_psqls(tmp_path: Path) -> None:
    """Neither is a statement of another kind taken."""
    with servers.machine(tmp_path) as machine, embedded_toolbox.open_toolbox(machine.root) as toolbox:
        embedded_server.initialise(machine.new, PASSWORD)
        embedded_server.start(machine.new, servers.SETTINGS)
        passfile = toolbox.put("passfile", passfile_line(PASSWORD))
        server = ServerConnection(18, embedded_server.HOST, machine.address(machine.new).port, passfile=passfile)
        path = toolbox.put("globals.sql", ROLES.format(out=tmp_path))
        as_owners.create_roles(toolbox, server, path, "postgres")
        with connect(machine.address(machine.new)) as connection:
            found = connection.execute(
                "SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname ~ '^a' ORDER BY 1"
            ).fetchall()
        assert [name.split("\n")[0] for name, _ in found] == ['a"b', "app"]
        assert found[1][1].startswith("first\n\\! touch")
        for word in ("\\! touch x", "SELECT 1;", "CREATE ROLE x; \\! id", "DO $$BEGIN END$$;"):
            bad = toolbox.put("bad.sql", f"{word}\n")
            with pytest.raises(ServerError, match="the roles of the old server can't be taken over"):
                as_owners.create_roles(toolbox, server, bad, "postgres")
        assert not (tmp_path / "struck").exists()
