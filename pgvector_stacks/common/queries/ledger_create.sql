-- The ledger: what ran in this database. Only the administrator writes it; what belongs to the scripts' transaction, which
-- is the owner's, lands by pgstack.land().
DO $$ BEGIN
    -- By the first `up` alone: later the schema public is as the scripts made it, where they have not dropped or renamed it.
    IF to_regnamespace('pgstack') IS NULL AND to_regnamespace('public') IS NOT NULL THEN
        REVOKE CREATE ON SCHEMA public FROM PUBLIC;
        GRANT CREATE, USAGE ON SCHEMA public TO schema_owner;
    END IF;
END $$;
CREATE SCHEMA IF NOT EXISTS pgstack;

CREATE TABLE IF NOT EXISTS pgstack.ledger (
    name             text PRIMARY KEY,
    position         integer NOT NULL,
    sha256           text NOT NULL,
    normalised       text NOT NULL,
    statements       integer NOT NULL,
    duration_ms      integer NOT NULL,
    baseline         boolean NOT NULL DEFAULT false,
    applied_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by       text NOT NULL,
    git_commit       text,
    server_version   text NOT NULL DEFAULT current_setting('server_version'),
    pgvector_version text
);
COMMENT ON TABLE pgstack.ledger IS 'One row a script: what ran, and the hash of what it said. Written by pgvector-stacks.';

CREATE TABLE IF NOT EXISTS pgstack.event (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind       text NOT NULL,
    script     text,
    line       integer,
    sqlstate   text,
    message    text NOT NULL,
    revision   text,
    by_whom    text NOT NULL
);
COMMENT ON TABLE pgstack.event IS 'Append-only: applied, failed, validated, accepted, adopted. Failures are here too.';

CREATE TABLE IF NOT EXISTS pgstack.statement (
    script     text NOT NULL,
    number     integer NOT NULL,
    normalised text NOT NULL,
    state      text NOT NULL CHECK (state IN ('started', 'done')),
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (script, number)
);
-- Looked up before, since ALTER TABLE waits for readers, a running pg_dump among them.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_attribute
                    WHERE attrelid = 'pgstack.statement'::regclass AND attname = 'note' AND NOT attisdropped) THEN
        ALTER TABLE pgstack.statement ADD COLUMN note jsonb;
    END IF;
END $$;
COMMENT ON COLUMN pgstack.statement.note IS 'What there was before a statement outside of a transaction began.';
COMMENT ON TABLE pgstack.statement IS 'How far a no-transaction script has come, so that a rerun goes on from there.';

CREATE TABLE IF NOT EXISTS pgstack.object (
    kind       text NOT NULL,
    identity   text NOT NULL,
    definition text NOT NULL,
    PRIMARY KEY (kind, identity)
);
COMMENT ON TABLE pgstack.object IS 'The schema as the scripts left it; what differs from it later is drift.';

CREATE TABLE IF NOT EXISTS pgstack.landing (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pid         integer NOT NULL,
    transaction xid8,
    statements  text NOT NULL
);
COMMENT ON TABLE pgstack.landing IS
    'What one transaction of the owner''s may write here, in SQL; empty but while an `up` works. Nobody else may read it.';

CREATE OR REPLACE FUNCTION pgstack.land(settings jsonb DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    left_here text;
BEGIN
    WITH taken AS (DELETE FROM pgstack.landing WHERE pid = pg_backend_pid()
                   RETURNING id, transaction, landing.statements)
    SELECT taken.statements INTO left_here FROM taken
     WHERE transaction IS NULL OR transaction = pg_current_xact_id() ORDER BY id DESC LIMIT 1;
    IF left_here IS NULL THEN
        RAISE EXCEPTION 'only an `up` writes the ledger: nothing was left for this transaction'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    EXECUTE left_here USING settings;
END $$;
COMMENT ON FUNCTION pgstack.land IS 'Writes what the administrator left in pgstack.landing for this transaction of this session.';

CREATE OR REPLACE FUNCTION pgstack.refuse_change() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'pgstack.event is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger
                    WHERE tgrelid = 'pgstack.event'::regclass AND tgname = 'append_only') THEN
        CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON pgstack.event
            FOR EACH STATEMENT EXECUTE FUNCTION pgstack.refuse_change();
    END IF;
END $$;

REVOKE ALL ON SCHEMA pgstack FROM PUBLIC, schema_owner;
REVOKE ALL ON ALL TABLES IN SCHEMA pgstack FROM PUBLIC, schema_owner;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA pgstack FROM PUBLIC, schema_owner;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgstack FROM PUBLIC, schema_owner;
GRANT USAGE ON SCHEMA pgstack TO schema_owner;
GRANT SELECT ON pgstack.ledger, pgstack.event, pgstack.statement, pgstack.object TO schema_owner;
GRANT EXECUTE ON FUNCTION pgstack.land TO schema_owner;
