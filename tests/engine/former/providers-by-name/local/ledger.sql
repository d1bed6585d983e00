--
-- PostgreSQL database dump
--

\restrict rPiwHIdUqapgLzkNonNUOP71DzhqKuu1hUnvSYgRaHZylSokbujfteiYKTgzOxT

-- Dumped from database version 18.4
-- Dumped by pg_dump version 18.4

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: pgstack; Type: SCHEMA; Schema: -; Owner: postgres
--

CREATE SCHEMA pgstack;


ALTER SCHEMA pgstack OWNER TO postgres;

--
-- Name: land(jsonb); Type: FUNCTION; Schema: pgstack; Owner: postgres
--

CREATE FUNCTION pgstack.land(settings jsonb DEFAULT NULL::jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION pgstack.land(settings jsonb) OWNER TO postgres;

--
-- Name: refuse_change(); Type: FUNCTION; Schema: pgstack; Owner: postgres
--

CREATE FUNCTION pgstack.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION 'pgstack.event is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;


ALTER FUNCTION pgstack.refuse_change() OWNER TO postgres;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: event; Type: TABLE; Schema: pgstack; Owner: postgres
--

CREATE TABLE pgstack.event (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    kind text NOT NULL,
    script text,
    line integer,
    sqlstate text,
    message text NOT NULL,
    revision text,
    by_whom text NOT NULL
);


ALTER TABLE pgstack.event OWNER TO postgres;

--
-- Name: event_id_seq; Type: SEQUENCE; Schema: pgstack; Owner: postgres
--

ALTER TABLE pgstack.event ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME pgstack.event_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: landing; Type: TABLE; Schema: pgstack; Owner: postgres
--

CREATE TABLE pgstack.landing (
    id bigint NOT NULL,
    pid integer NOT NULL,
    transaction xid8,
    statements text NOT NULL
);


ALTER TABLE pgstack.landing OWNER TO postgres;

--
-- Name: landing_id_seq; Type: SEQUENCE; Schema: pgstack; Owner: postgres
--

ALTER TABLE pgstack.landing ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME pgstack.landing_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: ledger; Type: TABLE; Schema: pgstack; Owner: postgres
--

CREATE TABLE pgstack.ledger (
    name text NOT NULL,
    "position" integer NOT NULL,
    sha256 text NOT NULL,
    normalised text NOT NULL,
    statements integer NOT NULL,
    duration_ms integer NOT NULL,
    baseline boolean DEFAULT false NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    applied_by text NOT NULL,
    git_commit text,
    server_version text DEFAULT current_setting('server_version'::text) NOT NULL,
    pgvector_version text
);


ALTER TABLE pgstack.ledger OWNER TO postgres;

--
-- Name: object; Type: TABLE; Schema: pgstack; Owner: postgres
--

CREATE TABLE pgstack.object (
    kind text NOT NULL,
    identity text NOT NULL,
    definition text NOT NULL
);


ALTER TABLE pgstack.object OWNER TO postgres;

--
-- Name: statement; Type: TABLE; Schema: pgstack; Owner: postgres
--

CREATE TABLE pgstack.statement (
    script text NOT NULL,
    number integer NOT NULL,
    normalised text NOT NULL,
    state text NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    note jsonb,
    CONSTRAINT statement_state_check CHECK ((state = ANY (ARRAY['started'::text, 'done'::text])))
);


ALTER TABLE pgstack.statement OWNER TO postgres;

--
-- Data for Name: event; Type: TABLE DATA; Schema: pgstack; Owner: postgres
--

COPY pgstack.event (id, at, kind, script, line, sqlstate, message, revision, by_whom) FROM stdin;
1	2026-11-28 16:17:13.335561+00	applied	\N	\N	\N	init.sql, integration_upgrade.sql, install_pgvector.sql	7ed401a82945	root@vm
2	2026-11-28 16:17:13.605815+00	validated	\N	\N	\N	validation: every check passed	7ed401a82945	root@vm
\.


--
-- Data for Name: landing; Type: TABLE DATA; Schema: pgstack; Owner: postgres
--

COPY pgstack.landing (id, pid, transaction, statements) FROM stdin;
\.


--
-- Data for Name: ledger; Type: TABLE DATA; Schema: pgstack; Owner: postgres
--

COPY pgstack.ledger (name, "position", sha256, normalised, statements, duration_ms, baseline, applied_at, applied_by, git_commit, server_version, pgvector_version) FROM stdin;
init.sql	1	34979d6f4eafcd37d758b89aff7c060fda2d590a29a5517b53556e43ff2ae87c	ca518b748382faa6889690743b2aadebba1e6f8ac2f9e8ce175358a617115280	12	11	f	2026-11-28 16:17:13.334956+00	root@vm	\N	18.4	0.8.5
integration_upgrade.sql	2	bb2df1408517627562b1626906f609d9a8407fac37275f555c8b5b15517e7010	841bd790c59ea517bd5b20c9ef721439190c62745edfaba6c9ffc1b9991b9f8e	10	85	f	2026-11-28 16:17:13.335098+00	root@vm	\N	18.4	0.8.5
install_pgvector.sql	3	cf5e675cbd28f88bfeeac607df298dd61539d6ec9cbc73abdac90f5fdea85e85	86c21aa5d128e0f5ce7a4cce5d0374753085bdd633199c33264c7951a2945398	5	25	f	2026-11-28 16:17:13.335106+00	root@vm	\N	18.4	0.8.5
\.


--
-- Data for Name: object; Type: TABLE DATA; Schema: pgstack; Owner: postgres
--

COPY pgstack.object (kind, identity, definition) FROM stdin;
schema	public	owner: pg_database_owner\nright: =U/pg_database_owner\nright: pg_database_owner=UC/pg_database_owner\nright: schema_owner=UC/pg_database_owner\ncomment: standard public schema
schema	app	owner: schema_owner\nright: app=U/schema_owner\nright: readonly=U/schema_owner\nright: schema_owner=UC/schema_owner
extension	vector	schema: public\ncomment: vector data type and ivfflat and hnsw access methods
table	app.embedding	owner: schema_owner\nright: app=arwd/schema_owner\nright: readonly=r/schema_owner\nright: schema_owner=arwdDxtm/schema_owner\ncomment: The vectors that are searched by cosine distance (<=>).
table	app.tenant	owner: schema_owner\nright: app=arwd/schema_owner\nright: readonly=r/schema_owner\nright: schema_owner=arwdDxtm/schema_owner\ncomment: A customer; every row of the application belongs to one.
table	app.chunk	owner: schema_owner\nright: app=arwd/schema_owner\nright: readonly=r/schema_owner\nright: schema_owner=arwdDxtm/schema_owner\ncomment: A passage of a document, the size an embedding model takes.
table	app.document	owner: schema_owner\nright: app=arwd/schema_owner\nright: readonly=r/schema_owner\nright: schema_owner=arwdDxtm/schema_owner\ncomment: A text as the user knows it: a page, a file, a ticket.
table	app.source	owner: schema_owner\nright: app=arwd/schema_owner\nright: readonly=r/schema_owner\nright: schema_owner=arwdDxtm/schema_owner\ncomment: A system documents come from: a wiki, a drive, a ticket system.
table	app.sync_state	owner: schema_owner\nright: app=arwd/schema_owner\nright: readonly=r/schema_owner\nright: schema_owner=arwdDxtm/schema_owner\ncomment: How far a source was read; cursor is whatever the source calls its place.
table	app.outbox	owner: schema_owner\nright: app=arwd/schema_owner\nright: readonly=r/schema_owner\nright: schema_owner=arwdDxtm/schema_owner\ncomment: Events to deliver, written in the transaction that makes them true.
column	app.tenant.tenant_id	type: bigint\nnot null: yes\nidentity: a
column	app.tenant.name	type: text\nnot null: yes
column	app.tenant.created_at	type: timestamp with time zone\nnot null: yes\ndefault: now()
column	app.document.document_id	type: bigint\nnot null: yes\nidentity: a
column	app.document.tenant_id	type: bigint\nnot null: yes
column	app.document.title	type: text\nnot null: yes
column	app.document.language	type: text\nnot null: yes\ndefault: 'en'::text
column	app.document.metadata	type: jsonb\nnot null: yes\ndefault: '{}'::jsonb
column	app.document.created_at	type: timestamp with time zone\nnot null: yes\ndefault: now()
column	app.document.updated_at	type: timestamp with time zone\nnot null: yes\ndefault: now()
column	app.chunk.chunk_id	type: bigint\nnot null: yes\nidentity: a
column	app.chunk.document_id	type: bigint\nnot null: yes
column	app.chunk."position"	type: integer\nnot null: yes
column	app.chunk.content	type: text\nnot null: yes
column	app.source.source_id	type: bigint\nnot null: yes\nidentity: a
column	app.source.tenant_id	type: bigint\nnot null: yes
column	app.source.kind	type: text\nnot null: yes
column	app.source.name	type: text\nnot null: yes
column	app.source.settings	type: jsonb\nnot null: yes\ndefault: '{}'::jsonb
column	app.sync_state.source_id	type: bigint\nnot null: yes
column	app.sync_state.status	type: app.sync_status\nnot null: yes\ndefault: 'pending'::app.sync_status
column	app.outbox.outbox_id	type: bigint\nnot null: yes\nidentity: a
column	app.outbox.topic	type: text\nnot null: yes
column	app.outbox.payload	type: jsonb\nnot null: yes
column	app.outbox.created_at	type: timestamp with time zone\nnot null: yes\ndefault: now()
column	app.embedding.chunk_id	type: bigint\nnot null: yes
column	app.embedding.model	type: text\nnot null: yes
column	app.embedding.embedding	type: public.vector(384)\nnot null: yes
column	app.sync_state.error	type: text
column	app.sync_state.cursor	type: text
column	app.document.external_id	type: text
column	app.document.source_id	type: bigint
column	app.outbox.sent_at	type: timestamp with time zone
column	app.sync_state.synced_at	type: timestamp with time zone
column	app.document.external_version	type: text
column order	app.chunk	names: ["chunk_id", "document_id", "position", "content"]
column order	app.document	names: ["document_id", "tenant_id", "title", "language", "metadata", "created_at", "updated_at", "source_id", "external_id", "external_version"]
column order	app.embedding	names: ["chunk_id", "model", "embedding"]
column order	app.outbox	names: ["outbox_id", "topic", "payload", "created_at", "sent_at"]
column order	app.source	names: ["source_id", "tenant_id", "kind", "name", "settings"]
column order	app.sync_state	names: ["source_id", "status", "cursor", "error", "synced_at"]
column order	app.tenant	names: ["tenant_id", "name", "created_at"]
index	app.embedding.embedding_pkey	definition: CREATE UNIQUE INDEX embedding_pkey ON app.embedding USING btree (chunk_id, model)
index	app.embedding.embedding_hnsw	definition: CREATE INDEX embedding_hnsw ON app.embedding USING hnsw (embedding public.vector_cosine_ops) WITH (m='16', ef_construction='64')
index	app.tenant.tenant_pkey	definition: CREATE UNIQUE INDEX tenant_pkey ON app.tenant USING btree (tenant_id)
index	app.tenant.tenant_name_key	definition: CREATE UNIQUE INDEX tenant_name_key ON app.tenant USING btree (name)
index	app.document.document_pkey	definition: CREATE UNIQUE INDEX document_pkey ON app.document USING btree (document_id)
index	app.document.document_tenant	definition: CREATE INDEX document_tenant ON app.document USING btree (tenant_id)
index	app.chunk.chunk_pkey	definition: CREATE UNIQUE INDEX chunk_pkey ON app.chunk USING btree (chunk_id)
index	app.chunk.chunk_document_id_position_key	definition: CREATE UNIQUE INDEX chunk_document_id_position_key ON app.chunk USING btree (document_id, "position")
index	app.source.source_pkey	definition: CREATE UNIQUE INDEX source_pkey ON app.source USING btree (source_id)
index	app.source.source_tenant_id_kind_name_key	definition: CREATE UNIQUE INDEX source_tenant_id_kind_name_key ON app.source USING btree (tenant_id, kind, name)
index	app.document.document_external	definition: CREATE UNIQUE INDEX document_external ON app.document USING btree (source_id, external_id)
index	app.sync_state.sync_state_pkey	definition: CREATE UNIQUE INDEX sync_state_pkey ON app.sync_state USING btree (source_id)
index	app.outbox.outbox_pkey	definition: CREATE UNIQUE INDEX outbox_pkey ON app.outbox USING btree (outbox_id)
index	app.outbox.outbox_unsent	definition: CREATE INDEX outbox_unsent ON app.outbox USING btree (outbox_id) WHERE (sent_at IS NULL)
constraint	app.tenant.tenant_name_check	definition: CHECK ((name <> ''::text))
constraint	app.tenant.tenant_pkey	definition: PRIMARY KEY (tenant_id)
constraint	app.tenant.tenant_name_key	definition: UNIQUE (name)
constraint	app.document.document_pkey	definition: PRIMARY KEY (document_id)
constraint	app.document.document_tenant_id_fkey	definition: FOREIGN KEY (tenant_id) REFERENCES app.tenant(tenant_id) ON DELETE CASCADE
constraint	app.chunk.chunk_position_check	definition: CHECK (("position" >= 0))
constraint	app.chunk.chunk_pkey	definition: PRIMARY KEY (chunk_id)
constraint	app.chunk.chunk_document_id_position_key	definition: UNIQUE (document_id, "position")
constraint	app.chunk.chunk_document_id_fkey	definition: FOREIGN KEY (document_id) REFERENCES app.document(document_id) ON DELETE CASCADE
constraint	app.source.source_pkey	definition: PRIMARY KEY (source_id)
constraint	app.source.source_tenant_id_kind_name_key	definition: UNIQUE (tenant_id, kind, name)
constraint	app.source.source_tenant_id_fkey	definition: FOREIGN KEY (tenant_id) REFERENCES app.tenant(tenant_id) ON DELETE CASCADE
constraint	app.document.document_external	definition: UNIQUE (source_id, external_id)
constraint	app.document.document_source_id_fkey	definition: FOREIGN KEY (source_id) REFERENCES app.source(source_id) ON DELETE SET NULL
constraint	app.sync_state.sync_state_pkey	definition: PRIMARY KEY (source_id)
constraint	app.sync_state.sync_state_source_id_fkey	definition: FOREIGN KEY (source_id) REFERENCES app.source(source_id) ON DELETE CASCADE
constraint	app.outbox.outbox_pkey	definition: PRIMARY KEY (outbox_id)
constraint	app.embedding.embedding_pkey	definition: PRIMARY KEY (chunk_id, model)
constraint	app.embedding.embedding_chunk_id_fkey	definition: FOREIGN KEY (chunk_id) REFERENCES app.chunk(chunk_id) ON DELETE CASCADE
trigger	app.document.document_touch	definition: CREATE TRIGGER document_touch BEFORE UPDATE ON app.document FOR EACH ROW EXECUTE FUNCTION app.touch_updated_at()
sequence	app.tenant_tenant_id_seq	owner: schema_owner\nright: app=rU/schema_owner\nright: readonly=r/schema_owner\nright: schema_owner=rwU/schema_owner\ntype: bigint\nstart: 1\nincrement: 1\nminimum: 1\nmaximum: 9223372036854775807\ncache: 1\nowned by: app.tenant.tenant_id
sequence	app.document_document_id_seq	owner: schema_owner\nright: app=rU/schema_owner\nright: readonly=r/schema_owner\nright: schema_owner=rwU/schema_owner\ntype: bigint\nstart: 1\nincrement: 1\nminimum: 1\nmaximum: 9223372036854775807\ncache: 1\nowned by: app.document.document_id
sequence	app.chunk_chunk_id_seq	owner: schema_owner\nright: app=rU/schema_owner\nright: readonly=r/schema_owner\nright: schema_owner=rwU/schema_owner\ntype: bigint\nstart: 1\nincrement: 1\nminimum: 1\nmaximum: 9223372036854775807\ncache: 1\nowned by: app.chunk.chunk_id
sequence	app.source_source_id_seq	owner: schema_owner\nright: app=rU/schema_owner\nright: readonly=r/schema_owner\nright: schema_owner=rwU/schema_owner\ntype: bigint\nstart: 1\nincrement: 1\nminimum: 1\nmaximum: 9223372036854775807\ncache: 1\nowned by: app.source.source_id
sequence	app.outbox_outbox_id_seq	owner: schema_owner\nright: app=rU/schema_owner\nright: readonly=r/schema_owner\nright: schema_owner=rwU/schema_owner\ntype: bigint\nstart: 1\nincrement: 1\nminimum: 1\nmaximum: 9223372036854775807\ncache: 1\nowned by: app.outbox.outbox_id
function	app.touch_updated_at()	owner: schema_owner\nright: =X/schema_owner\nright: schema_owner=X/schema_owner\ndefinition: md5 7b16db431218ada87adc9e4e0b622574
enum	app.sync_status	owner: schema_owner\nright: =U/schema_owner\nright: schema_owner=U/schema_owner\nvalues: 'pending', 'running', 'succeeded', 'failed'
format	record	3
\.


--
-- Data for Name: statement; Type: TABLE DATA; Schema: pgstack; Owner: postgres
--

COPY pgstack.statement (script, number, normalised, state, at, note) FROM stdin;
\.


--
-- Name: event_id_seq; Type: SEQUENCE SET; Schema: pgstack; Owner: postgres
--

SELECT pg_catalog.setval('pgstack.event_id_seq', 2, true);


--
-- Name: landing_id_seq; Type: SEQUENCE SET; Schema: pgstack; Owner: postgres
--

SELECT pg_catalog.setval('pgstack.landing_id_seq', 1, true);


--
-- Name: event event_pkey; Type: CONSTRAINT; Schema: pgstack; Owner: postgres
--

ALTER TABLE ONLY pgstack.event
    ADD CONSTRAINT event_pkey PRIMARY KEY (id);


--
-- Name: landing landing_pkey; Type: CONSTRAINT; Schema: pgstack; Owner: postgres
--

ALTER TABLE ONLY pgstack.landing
    ADD CONSTRAINT landing_pkey PRIMARY KEY (id);


--
-- Name: ledger ledger_pkey; Type: CONSTRAINT; Schema: pgstack; Owner: postgres
--

ALTER TABLE ONLY pgstack.ledger
    ADD CONSTRAINT ledger_pkey PRIMARY KEY (name);


--
-- Name: object object_pkey; Type: CONSTRAINT; Schema: pgstack; Owner: postgres
--

ALTER TABLE ONLY pgstack.object
    ADD CONSTRAINT object_pkey PRIMARY KEY (kind, identity);


--
-- Name: statement statement_pkey; Type: CONSTRAINT; Schema: pgstack; Owner: postgres
--

ALTER TABLE ONLY pgstack.statement
    ADD CONSTRAINT statement_pkey PRIMARY KEY (script, number);


--
-- Name: event append_only; Type: TRIGGER; Schema: pgstack; Owner: postgres
--

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON pgstack.event FOR EACH STATEMENT EXECUTE FUNCTION pgstack.refuse_change();


--
-- Name: SCHEMA pgstack; Type: ACL; Schema: -; Owner: postgres
--

GRANT USAGE ON SCHEMA pgstack TO schema_owner;


--
-- Name: FUNCTION land(settings jsonb); Type: ACL; Schema: pgstack; Owner: postgres
--

REVOKE ALL ON FUNCTION pgstack.land(settings jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION pgstack.land(settings jsonb) TO schema_owner;


--
-- Name: FUNCTION refuse_change(); Type: ACL; Schema: pgstack; Owner: postgres
--

REVOKE ALL ON FUNCTION pgstack.refuse_change() FROM PUBLIC;


--
-- Name: TABLE event; Type: ACL; Schema: pgstack; Owner: postgres
--

GRANT SELECT ON TABLE pgstack.event TO schema_owner;


--
-- Name: TABLE ledger; Type: ACL; Schema: pgstack; Owner: postgres
--

GRANT SELECT ON TABLE pgstack.ledger TO schema_owner;


--
-- Name: TABLE object; Type: ACL; Schema: pgstack; Owner: postgres
--

GRANT SELECT ON TABLE pgstack.object TO schema_owner;


--
-- Name: TABLE statement; Type: ACL; Schema: pgstack; Owner: postgres
--

GRANT SELECT ON TABLE pgstack.statement TO schema_owner;


--
-- PostgreSQL database dump complete
--

\unrestrict rPiwHIdUqapgLzkNonNUOP71DzhqKuu1hUnvSYgRaHZylSokbujfteiYKTgzOxT

