-- The ledger: what ran in this database. Made by the administrator, written by the owner in the scripts' transaction.
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

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT CREATE, USAGE ON SCHEMA public TO schema_owner;
REVOKE ALL ON SCHEMA pgstack FROM PUBLIC;
GRANT USAGE ON SCHEMA pgstack TO schema_owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON pgstack.ledger, pgstack.statement, pgstack.object TO schema_owner;
GRANT SELECT, INSERT ON pgstack.event TO schema_owner;
