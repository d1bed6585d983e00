-- What integrations with other systems need: where a document came from, how far its source was read, and an outbox
-- from which changes leave in the transaction that makes them.

SET search_path = app, public;

CREATE TYPE sync_status AS ENUM ('pending', 'running', 'succeeded', 'failed');

CREATE TABLE source (
    source_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    kind      text NOT NULL,
    name      text NOT NULL,
    settings  jsonb NOT NULL DEFAULT '{}',
    UNIQUE (tenant_id, kind, name)
);
COMMENT ON TABLE source IS 'A system documents come from: a wiki, a drive, a ticket system.';

ALTER TABLE document
    ADD COLUMN source_id bigint REFERENCES source ON DELETE SET NULL,
    ADD COLUMN external_id text,
    ADD COLUMN external_version text,
    ADD CONSTRAINT document_external UNIQUE (source_id, external_id);

CREATE TABLE sync_state (
    source_id  bigint PRIMARY KEY REFERENCES source ON DELETE CASCADE,
    status     sync_status NOT NULL DEFAULT 'pending',
    cursor     text,
    error      text,
    synced_at  timestamptz
);
COMMENT ON TABLE sync_state IS 'How far a source was read; cursor is whatever the source calls its place.';

CREATE TABLE outbox (
    outbox_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic      text NOT NULL,
    payload    jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at    timestamptz
);
COMMENT ON TABLE outbox IS 'Events to deliver, written in the transaction that makes them true.';
CREATE INDEX outbox_unsent ON outbox (outbox_id) WHERE sent_at IS NULL;
