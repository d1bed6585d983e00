-- A function of the session's that asks as the owner of a table. Who runs inside of it can neither RESET ROLE nor SET it
-- (SECURITY DEFINER forbids both), so that expressions, predicates, operators and casts that the owner wrote run as the
-- owner, in the planner too. Behind it: ALTER FUNCTION … OWNER TO. Always in a transaction that is undone.
CREATE FUNCTION pg_temp.pgstack_ask(question text) RETURNS SETOF text LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET row_security = off
AS $$ BEGIN RETURN QUERY EXECUTE question; END $$
