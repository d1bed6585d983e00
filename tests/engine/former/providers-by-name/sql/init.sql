-- The schema of an application with AI features: tenants own documents, documents are cut into chunks.
-- Runs as schema_owner. `app` and `readonly` get their rights when the scripts land: no GRANT here.

CREATE SCHEMA app;

-- What every connection finds without naming the schema. `public` stays on the path: the vector type lives there.
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = app, public', current_database());
END
$$;
SET search_path = app, public;

CREATE TABLE tenant (
    tenant_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL UNIQUE CHECK (name <> ''),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE tenant IS 'A customer; every row of the application belongs to one.';

CREATE TABLE document (
    document_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id   bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    title       text NOT NULL,
    language    text NOT NULL DEFAULT 'en',
    metadata    jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE document IS 'A text as the user knows it: a page, a file, a ticket.';
CREATE INDEX document_tenant ON document (tenant_id);

CREATE TABLE chunk (
    chunk_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    document_id bigint NOT NULL REFERENCES document ON DELETE CASCADE,
    position    integer NOT NULL CHECK (position >= 0),
    content     text NOT NULL,
    UNIQUE (document_id, position)
);
COMMENT ON TABLE chunk IS 'A passage of a document, the size an embedding model takes.';

CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

CREATE TRIGGER document_touch BEFORE UPDATE ON document
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
