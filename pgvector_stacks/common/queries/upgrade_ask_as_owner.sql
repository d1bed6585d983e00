-- Asks a query as {owner}: in a SECURITY DEFINER function nothing can become the caller again, as it could after
-- SET ROLE; read only, and undone, so that nothing it leaves behind acts later with the caller's rights.
BEGIN;
CREATE FUNCTION pg_temp.pgstack_ask(asked text) RETURNS SETOF json LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $ask$
BEGIN
    RETURN QUERY EXECUTE asked;
END $ask$;
ALTER FUNCTION pg_temp.pgstack_ask(text) OWNER TO {owner};
SET TRANSACTION READ ONLY;
SELECT pg_temp.pgstack_ask({query});
ROLLBACK;
