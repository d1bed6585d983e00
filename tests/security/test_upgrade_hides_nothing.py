"""What a rehearsal can't count, pg_upgrade never runs: each as an owner could write it, and refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.upgrade.engines import embedded_upgrade
from tests.security.test_upgrade_runs_as_owner import CODE, OWNER, old_server
from tests.upgrade.servers import PASSWORD

# The CHECK itself asks for whom it is computed; a function that isn't called isn't counted
ASKS = """
CREATE FUNCTION public.acts(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN public.strike(''asks''); END';
CREATE DOMAIN public.asks AS int CHECK (
    CASE WHEN pg_catalog.current_setting('is_superuser') = 'on' THEN public.acts(VALUE) ELSE true END);
CREATE TABLE public.p (i public.asks) PARTITION BY RANGE (i);
CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES FROM (1) TO (10);
"""
# pg_upgrade alone puts back the value that rows written before the column have
MISSING = """
CREATE DOMAIN public.later AS int;
CREATE TABLE public.m (i int);
INSERT INTO public.m VALUES (1);
ALTER TABLE public.m ADD COLUMN x public.later DEFAULT 5;
ALTER DOMAIN public.later ADD CHECK (public.fine('missing'));
"""
# no dump has what belongs to an extension
MEMBER = """
CREATE TABLE public.q (i int) PARTITION BY RANGE (i);
CREATE TABLE public.q1 (i int CHECK (i > public.five('member') - 100));
ALTER TABLE public.q ATTACH PARTITION public.q1 FOR VALUES FROM (1) TO (10);
ALTER EXTENSION vector ADD TABLE public.q;
ALTER EXTENSION vector ADD TABLE public.q1;
"""
# functions that drop themselves, before anything depends on them, leave no count behind
DROPS = """
CREATE FUNCTION public.away() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DROP FUNCTION public.once(); DROP FUNCTION public.away();
    CREATE FUNCTION public.once() RETURNS int IMMUTABLE LANGUAGE sql RETURN 1;
END $$;
CREATE FUNCTION public.once() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    IF pg_catalog.current_setting('is_superuser') = 'on' THEN
        PERFORM public.strike('drops');
    ELSIF session_user = 'pgstack_loading' THEN
        PERFORM public.away();
    END IF;
    RETURN 1;
END $$;
CREATE TABLE public.g (i int, g int GENERATED ALWAYS AS (i + public.once()) STORED);
"""


UNSEEN = r"public\.asks \(public\.acts\(integer\)\), .*public\.later \(public\.fine\(text\)\), app: vector \("


@pytest.mark.parametrize(
    ("attack", "told"),
    [(ASKS + MISSING + MEMBER, UNSEEN), (DROPS, "function of the schema's owner")],
    ids=["unseen", "drops"],
)
def test_pg_upgrade_never_runs_what_the_rehearsal_didnt_see(attack: str, told: str, tmp_path: Path) -> None:
    (out := tmp_path / "struck").mkdir()
    for path in (out, *list(out.parents)[:-2]):
        path.chmod(0o777)
    with old_server(tmp_path / "data") as machine:
        with connect(machine.address(machine.old, "app"), own_path=True) as connection:
            for statement in (
                f"CREATE ROLE {OWNER}; GRANT CREATE ON SCHEMA public TO {OWNER}; CREATE EXTENSION vector SCHEMA public",
                # as if the owner had made it: it may make a trusted extension, hstore for one
                f"UPDATE pg_extension SET extowner = '{OWNER}'::regrole WHERE extname = 'vector'",
                f"SET ROLE {OWNER}",
                (CODE + attack).format(owner=OWNER, out=out),
            ):
                connection.execute(statement.encode())
        with pytest.raises(ServerError, match=told):
            embedded_upgrade.upgrade(machine.job, PASSWORD, None, machine.said.append)
        assert list(out.iterdir()) == []
        assert machine.serving == machine.old
