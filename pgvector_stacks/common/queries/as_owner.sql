-- pg_temp.pgstack_ask(relation, query): what a query over one relation returns, asked with the rights of its owner. The
-- planner runs IMMUTABLE functions in the expressions of a relation's indexes, and the owner wrote these. The roles that
-- have such rights see all rows; as_owner_end.sql takes them away in the same transaction, or a ROLLBACK does.
-- From the question on the transaction only reads: what the owner wrote could make these functions again, or others that
-- are taken for them. So a transaction asks once, or by pgstack_answer (one value), whose subtransaction is undone.
DO $$
DECLARE
    owner record;
    role text;
    number integer := 0;
BEGIN
    -- the database's event triggers aren't for what is made and gone again here
    PERFORM set_config('session_replication_role', 'replica', true);
    PERFORM set_config(name, 'off', true) FROM pg_settings WHERE name = 'event_triggers';
    PERFORM set_config(name, 'view, foreign-table', true) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind';
    FOR owner IN
        SELECT r.oid, CASE r.rolname WHEN 'pg_database_owner'  -- nobody can be made a member of it
                           THEN (SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database())
                           ELSE r.rolname END AS member_of
          FROM pg_roles r
         WHERE NOT r.rolsuper AND EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid AND c.relkind IN ('r', 'm'))
    LOOP
        role := format('pgstack_asking_%s_%s', pg_backend_pid(), number);
        number := number + 1;
        EXECUTE format('CREATE ROLE %I BYPASSRLS IN ROLE %I', role, owner.member_of);
        EXECUTE format('CREATE FUNCTION pg_temp.%I(query text) RETURNS SETOF text LANGUAGE plpgsql SECURITY DEFINER'
                       ' SET search_path = '''' AS $f$BEGIN RETURN QUERY EXECUTE query; END$f$', 'of ' || owner.oid);
        -- what one owner wrote asks nothing as another one
        EXECUTE format('REVOKE ALL ON FUNCTION pg_temp.%I(text) FROM PUBLIC', 'of ' || owner.oid);
        EXECUTE format('ALTER FUNCTION pg_temp.%I(text) OWNER TO %I', 'of ' || owner.oid, role);
    END LOOP;
END $$;
CREATE OR REPLACE FUNCTION pg_temp.pgstack_ask(relation regclass, query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    of record;
BEGIN
    SELECT o.oid, o.rolsuper, n.nspname, p.proowner::regrole AS asking,
           has_table_privilege(p.proowner, c.oid, 'SELECT') AND has_schema_privilege(p.proowner, n.oid, 'USAGE') AS may
      INTO of
      FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_roles o ON o.oid = c.relowner
      LEFT JOIN pg_proc p ON p.pronamespace = pg_my_temp_schema() AND p.proname = 'of ' || o.oid
     WHERE c.oid = relation;
    IF of.rolsuper THEN
        RETURN QUERY EXECUTE query;
        RETURN;
    END IF;
    IF NOT of.may THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %s', of.nspname, of.asking);
        EXECUTE format('GRANT SELECT ON %s TO %s', relation, of.asking);
    END IF;
    PERFORM set_config('transaction_read_only', 'on', true);
    RETURN QUERY EXECUTE format('SELECT pg_temp.%I($1)', 'of ' || of.oid) USING query;
END $$;
CREATE OR REPLACE FUNCTION pg_temp.pgstack_answer(relation regclass, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    BEGIN
        SELECT * INTO answer FROM pg_temp.pgstack_ask(relation, query);
        RAISE SQLSTATE 'PGSTK';
    EXCEPTION WHEN SQLSTATE 'PGSTK' THEN NULL;
    END;
    RETURN answer;
END $$;
