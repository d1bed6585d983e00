-- What a database holds, as one JSON value: written down with a backup and asked again of what was restored from it.
-- Definitions are left out where the server writes them differently once they were restored (a CHECK on a varchar).
-- Sequences keep to no snapshot: the number that comes next is asked before and after the dump.
-- Each count is taken in a subtransaction that is undone: its locks go with it, and the number stays in the variable.
-- Held to the end, the locks of some 10,000 tables and their indexes would be more than a server has room for.
-- Behind as_owner.sql rows are counted with the rights of the tables' owners; without it, with those of whoever asks. With
-- pgstack.uncounted set, `tables` has their OIDs instead of `rows`: backup.pl counts them in the dump.
DO $contents$
DECLARE
    sequences_only constant boolean := coalesce(current_setting('pgstack.sequences_only', true), '') = 'yes';
    uncounted constant boolean := coalesce(current_setting('pgstack.uncounted', true), '') = 'yes';
    as_owner constant boolean := to_regprocedure('pg_temp.pgstack_ask(regclass, text)') IS NOT NULL;
    found record;
    number numeric;
    row_names text[] := '{}';
    row_counts text[] := '{}';
    sequence_names text[] := '{}';
    sequence_next text[] := '{}';
    ledger jsonb := '[]';
BEGIN
    PERFORM set_config('search_path', '', true);
    -- an `up` beside this may give a view the name of a table or a sequence: it is refused, and the backup fails
    PERFORM set_config(name, 'view, foreign-table', true) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind';
    FOR found IN
        SELECT c.oid, c.relkind, format('%I.%I', s.nspname, c.relname) AS name, q.seqincrement
          FROM pg_class c
          JOIN pg_namespace s ON s.oid = c.relnamespace
          LEFT JOIN pg_sequence q ON q.seqrelid = c.oid
         WHERE c.relkind IN ('r', 'S') AND c.relpersistence <> 't'
           AND s.nspname !~ '^pg_' AND s.nspname <> 'information_schema'
           AND NOT EXISTS (SELECT FROM pg_depend d  -- an extension makes its own again
                            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
         ORDER BY 2
    LOOP
        CONTINUE WHEN found.relkind = 'r' AND sequences_only;
        BEGIN
            IF found.relkind = 'r' AND uncounted THEN
                number := found.oid::bigint;
            ELSIF found.relkind = 'r' AND as_owner THEN
                EXECUTE format('SELECT * FROM pg_temp.pgstack_ask(%L::regclass, %L::text)', found.name,
                               format('SELECT count(*)::text FROM ONLY %s', found.name)) INTO number;
            ELSIF found.relkind = 'r' THEN
                EXECUTE format('SELECT count(*) FROM ONLY %s', found.name) INTO number;
            ELSE
                EXECUTE format('SELECT last_value::numeric + CASE WHEN is_called THEN %s ELSE 0 END FROM %s',
                               found.seqincrement, found.name) INTO number;
            END IF;
            RAISE SQLSTATE 'PG000';
        EXCEPTION WHEN SQLSTATE 'PG000' THEN
            NULL;
        END;
        IF found.relkind = 'r' THEN
            row_names := row_names || found.name;
            row_counts := row_counts || number::text;
        ELSE
            sequence_names := sequence_names || found.name;
            sequence_next := sequence_next || number::text;
        END IF;
    END LOOP;
    IF to_regclass('pgstack.ledger') IS NOT NULL THEN
        EXECUTE 'SELECT coalesce(jsonb_agg(jsonb_build_array(name, normalised) ORDER BY position, name), ''[]'')'
                ' FROM pgstack.ledger' INTO ledger;
    END IF;
    PERFORM set_config('pgstack.counted', jsonb_build_object(
        CASE WHEN uncounted THEN 'tables' ELSE 'rows' END, jsonb_object(row_names, row_counts), 'sequences', jsonb_object(sequence_names, sequence_next),
        'ledger', ledger)::text, false);
END
$contents$;
WITH space AS (
    SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), member AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), relation AS (
    SELECT c.*, format('%I.%I', s.nspname, c.relname) AS name
      FROM pg_class c JOIN space s ON s.oid = c.relnamespace
     WHERE c.relpersistence <> 't' AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_class'::regclass AND objid = c.oid)
), index AS (
    SELECT i.oid, i.relname, s.nspname, r.name AS table_name, a.amname IN ('hnsw', 'ivfflat') AS vector
      FROM pg_index x
      JOIN relation r ON r.oid = x.indrelid
      JOIN pg_class i ON i.oid = x.indexrelid
      JOIN space s ON s.oid = i.relnamespace
      JOIN pg_am a ON a.oid = i.relam
     WHERE x.indisvalid OR i.relkind = 'I'  -- pg_dump leaves out what a failed build left behind
), object AS (
    SELECT CASE relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view ' WHEN 'f' THEN 'foreign table '
                        WHEN 'p' THEN 'partitioned table ' ELSE 'table ' END || name AS name,
           'owner ' || pg_get_userbyid(relowner) AS definition
      FROM relation WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
    UNION ALL
    SELECT format('constraint %s.%I', r.name, k.conname),
           concat_ws(' ', k.contype, CASE WHEN NOT k.convalidated THEN 'not validated' END,
                     CASE WHEN k.condeferrable THEN 'deferrable' END,
                     (SELECT string_agg(a.attname, ', ' ORDER BY place)
                        FROM unnest(k.conkey) WITH ORDINALITY AS key(number, place)
                        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = key.number),
                     'references ' || (SELECT format('%I.%I', n.nspname, f.relname) FROM pg_class f
                                         JOIN pg_namespace n ON n.oid = f.relnamespace WHERE f.oid = k.confrelid))
      FROM pg_constraint k JOIN relation r ON r.oid = k.conrelid
     WHERE k.contype <> 'n'  -- NOT NULL is one since 18
    UNION ALL
    SELECT format('constraint %I.%I.%I', s.nspname, t.typname, k.conname), k.contype::text
      FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid JOIN space s ON s.oid = t.typnamespace
     WHERE k.contype <> 'n' AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_type'::regclass AND objid = t.oid)
    UNION ALL
    SELECT format('index %I.%I', nspname, relname), 'on ' || table_name FROM index WHERE NOT vector
    UNION ALL
    SELECT format('trigger %s.%I', r.name, t.tgname), t.tgenabled::text
      FROM pg_trigger t JOIN relation r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
    UNION ALL
    SELECT format('policy %s.%I', r.name, p.polname), p.polcmd::text
      FROM pg_policy p JOIN relation r ON r.oid = p.polrelid
    UNION ALL
    SELECT format('function %I.%I(%s)', s.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
           'owner ' || pg_get_userbyid(p.proowner)
      FROM pg_proc p JOIN space s ON s.oid = p.pronamespace
     WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_proc'::regclass AND objid = p.oid)
)
SELECT current_setting('pgstack.counted')::jsonb || jsonb_build_object(
    'objects', (SELECT coalesce(jsonb_object_agg(name, definition), '{}') FROM object),
    'vectorIndexes', (SELECT coalesce(jsonb_agg(jsonb_build_object('oid', oid::bigint, 'schema', nspname, 'name', relname)
                                                ORDER BY nspname, relname), '[]') FROM index WHERE vector),
    'extensions', (SELECT coalesce(jsonb_object_agg(extname, extversion), '{}') FROM pg_extension),
    'largeObjects', (SELECT count(*) FROM pg_largeobject_metadata));
