"""What test_drift_and_pg_dump.py tries: a schema of every kind of object, and statements that change it by hand.

After the manual's list of ALTER, COMMENT, CREATE, DROP, GRANT and REVOKE. Nothing here depends on the drift.
"""

from __future__ import annotations

SCHEMA = """
CREATE ROLE someone; CREATE ROLE "some one";
CREATE SCHEMA s; CREATE SCHEMA other;
CREATE DOMAIN s.mail AS text COLLATE "C" DEFAULT 'a@b' CONSTRAINT has_at CHECK (value LIKE '%@%');
CREATE TYPE s.mood AS ENUM ('low', 'high');
CREATE TYPE s.pair AS (a int, b text);
CREATE TYPE s.span AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE TYPE s.shell; CREATE TYPE s.two AS (k int, l int);
CREATE DOMAIN s.even AS int CONSTRAINT one CHECK (value > 0) CONSTRAINT two CHECK (value < 9);
CREATE SEQUENCE s.numbers;
CREATE DOMAIN s.count AS int DEFAULT nextval('s.numbers');
CREATE DOMAIN s.since AS timestamptz DEFAULT '2026-01-01 00:00+00';
CREATE TABLE s.parent (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, n int CHECK (n > 0),
    twice int GENERATED ALWAYS AS (n * 2) STORED, e s.mail, m s.mood, p s.pair);
CREATE TABLE s.child (id serial PRIMARY KEY, parent bigint CONSTRAINT to_parent REFERENCES s.parent, code text UNIQUE,
    v vector(3), during int4range, "Odd.Name" int);
CREATE TABLE s.older (a int NOT NULL, b int); CREATE TABLE s.younger (c int) INHERITS (s.older);
ALTER TABLE s.older ADD CONSTRAINT small CHECK (a < 100);
CREATE INDEX younger_c ON s.younger (c);
CREATE TABLE s.typed OF s.pair;
CREATE TABLE s.log (at date NOT NULL, v int) PARTITION BY RANGE (at);
CREATE TABLE s.log_1 PARTITION OF s.log FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE INDEX log_at ON s.log (at);
CREATE INDEX by_name ON s.parent (name); CREATE INDEX by_sum ON s.parent ((n + 1));
CREATE INDEX near ON s.child USING hnsw (v vector_l2_ops);
CREATE VIEW s.seen AS SELECT id, name, n FROM s.parent;
CREATE MATERIALIZED VIEW s.kept AS SELECT name, count(*) AS many FROM s.parent GROUP BY name;
CREATE UNIQUE INDEX kept_name ON s.kept (name);
CREATE FUNCTION s.plus(a int, b int DEFAULT 1) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + b';
CREATE FUNCTION s.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE FUNCTION s.watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE PROCEDURE s.work(a int) LANGUAGE sql AS 'SELECT a';
CREATE AGGREGATE s.product(int) (sfunc = int4mul, stype = int, initcond = '1');
CREATE OPERATOR s.=== (leftarg = int, rightarg = int, function = int4eq);
CREATE OPERATOR FAMILY s.ints USING btree;
CREATE OPERATOR CLASS s.ints_ops FOR TYPE int USING btree FAMILY s.ints
    AS OPERATOR 3 s.===, FUNCTION 1 btint4cmp(int, int);
CREATE FUNCTION s.mood_to_int(s.mood) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE CAST (s.mood AS int) WITH FUNCTION s.mood_to_int(s.mood);
CREATE COLLATION s.plain (provider = libc, locale = 'C');
CREATE CONVERSION s.to_latin FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1;
CREATE TEXT SEARCH DICTIONARY s.words (template = simple);
CREATE TEXT SEARCH CONFIGURATION s.search (parser = default);
ALTER TEXT SEARCH CONFIGURATION s.search ADD MAPPING FOR asciiword WITH simple;
CREATE STATISTICS s.both ON name, n FROM s.parent;
CREATE TRIGGER touch BEFORE UPDATE ON s.parent FOR EACH ROW EXECUTE FUNCTION s.touch();
CREATE TRIGGER touch_log BEFORE UPDATE ON s.log FOR EACH ROW EXECUTE FUNCTION s.touch();
CREATE RULE quiet AS ON DELETE TO s.older DO INSTEAD NOTHING;
ALTER TABLE s.parent ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON s.parent AS RESTRICTIVE FOR SELECT TO someone USING (n = 1);
CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION s.watch();
CREATE FOREIGN DATA WRAPPER wrapper; CREATE SERVER far FOREIGN DATA WRAPPER wrapper OPTIONS (host 'x', port '1');
CREATE USER MAPPING FOR someone SERVER far OPTIONS (name 'x');
CREATE FOREIGN TABLE s.away (a int OPTIONS (x 'y'), b text) SERVER far OPTIONS (path 'z');
CREATE PUBLICATION news FOR TABLE s.parent, TABLE s.child (id, code) WHERE (id > 3);
CREATE SUBSCRIPTION feed CONNECTION 'dbname=x' PUBLICATION one
    WITH (connect = false, slot_name = NONE, enabled = false, two_phase = true);
GRANT SELECT ON s.parent TO someone; GRANT INSERT (name) ON s.parent TO someone;
"""

CHANGES = """
ALTER TABLE s.parent ADD COLUMN added int
ALTER TABLE s.parent ADD COLUMN again varchar(9) DEFAULT 'x'
ALTER TABLE s.parent ALTER again TYPE varchar(10)
ALTER TABLE s.parent ALTER again TYPE varchar(10) COLLATE "C"
ALTER TABLE s.parent ALTER again SET DEFAULT 'y'
ALTER TABLE s.parent ALTER again DROP DEFAULT
ALTER TABLE s.parent ALTER again SET NOT NULL
ALTER TABLE s.parent ALTER again DROP NOT NULL
ALTER TABLE s.parent ADD CONSTRAINT named NOT NULL again
ALTER TABLE s.parent RENAME CONSTRAINT named TO other_name
ALTER TABLE s.parent DROP CONSTRAINT other_name
ALTER TABLE s.parent ADD CONSTRAINT filled NOT NULL again NOT VALID
ALTER TABLE s.parent VALIDATE CONSTRAINT filled
ALTER TABLE s.parent ALTER again SET STATISTICS 7
ALTER TABLE s.parent ALTER again SET (n_distinct = 5)
ALTER TABLE s.parent ALTER again RESET (n_distinct)
ALTER TABLE s.parent ALTER again SET STORAGE EXTERNAL
ALTER TABLE s.parent ALTER again SET COMPRESSION pglz
ALTER TABLE s.parent DROP COLUMN added, ADD COLUMN added int
ALTER TABLE s.parent RENAME again TO once
ALTER TABLE s.parent ALTER id SET GENERATED BY DEFAULT
ALTER TABLE s.parent ALTER id SET INCREMENT BY 5 SET MAXVALUE 1000
ALTER TABLE s.parent ALTER id DROP IDENTITY
ALTER TABLE s.parent ALTER id ADD GENERATED BY DEFAULT AS IDENTITY (START 9)
ALTER TABLE s.parent ALTER twice SET EXPRESSION AS (n * 3)
ALTER TABLE s.parent ALTER twice DROP EXPRESSION
ALTER TABLE s.parent ADD COLUMN thrice int GENERATED ALWAYS AS (n * 3) VIRTUAL
ALTER TABLE s.parent DROP COLUMN thrice
ALTER TABLE s.parent SET (fillfactor = 70)
ALTER TABLE s.parent SET (autovacuum_enabled = false, toast.autovacuum_enabled = false)
ALTER TABLE s.parent RESET (fillfactor)
ALTER TABLE s.parent RESET (toast.autovacuum_enabled)
ALTER TABLE s.parent CLUSTER ON by_name
ALTER TABLE s.parent SET WITHOUT CLUSTER
ALTER TABLE s.parent REPLICA IDENTITY FULL
ALTER TABLE s.parent REPLICA IDENTITY NOTHING
ALTER TABLE s.parent REPLICA IDENTITY USING INDEX parent_pkey
ALTER TABLE s.parent REPLICA IDENTITY DEFAULT
ALTER TABLE s.parent FORCE ROW LEVEL SECURITY
ALTER TABLE s.parent DISABLE ROW LEVEL SECURITY
ALTER TABLE s.parent ENABLE REPLICA TRIGGER touch
ALTER TABLE s.parent ENABLE ALWAYS TRIGGER touch
ALTER TABLE s.parent DISABLE TRIGGER touch
ALTER TABLE s.log DISABLE TRIGGER touch_log
ALTER TABLE s.log ENABLE TRIGGER touch_log
ALTER TABLE s.log_1 DISABLE TRIGGER touch_log
ALTER TRIGGER touch ON s.parent RENAME TO touches
ALTER TRIGGER touches ON s.parent DEPENDS ON EXTENSION vector
CREATE OR REPLACE TRIGGER touches BEFORE UPDATE ON s.parent FOR EACH ROW WHEN (old.n <> 3) EXECUTE FUNCTION s.touch()
CREATE CONSTRAINT TRIGGER checks AFTER INSERT ON s.child DEFERRABLE FOR EACH ROW EXECUTE FUNCTION s.touch()
COMMENT ON TRIGGER checks ON s.child IS 'late'
CLUSTER s.younger USING younger_c
ALTER TABLE s.older DISABLE RULE quiet
ALTER TABLE s.older ENABLE ALWAYS RULE quiet
ALTER RULE quiet ON s.older RENAME TO silent
CREATE OR REPLACE RULE silent AS ON DELETE TO s.older WHERE old.a = 1 DO INSTEAD NOTHING
COMMENT ON RULE silent ON s.older IS 'hush'
CREATE RULE swallow AS ON INSERT TO s.child DO INSTEAD NOTHING
ALTER TABLE s.younger NO INHERIT s.older
ALTER TABLE s.younger INHERIT s.older
ALTER TABLE s.older ADD COLUMN d int
ALTER TABLE ONLY s.older DROP COLUMN d
ALTER TABLE s.older ADD CONSTRAINT big CHECK (b > 10) NOT VALID
ALTER TABLE s.older VALIDATE CONSTRAINT big
ALTER TABLE s.older ADD CONSTRAINT own CHECK (b > 1) NO INHERIT
ALTER TABLE s.younger ALTER b SET DEFAULT 3
ALTER TABLE s.typed NOT OF
ALTER TABLE s.typed OF s.pair
ALTER TABLE s.child ALTER CONSTRAINT to_parent DEFERRABLE INITIALLY DEFERRED
ALTER TABLE s.child ALTER CONSTRAINT to_parent NOT ENFORCED
ALTER TABLE s.child ADD CONSTRAINT twice_parent FOREIGN KEY (parent) REFERENCES s.parent ON DELETE CASCADE NOT VALID
ALTER TABLE s.child VALIDATE CONSTRAINT twice_parent
ALTER TABLE s.child RENAME CONSTRAINT twice_parent TO again_parent
COMMENT ON CONSTRAINT again_parent ON s.child IS 'why'
ALTER TABLE s.child ADD CONSTRAINT apart EXCLUDE USING gist (during WITH &&)
ALTER TABLE s.child DROP CONSTRAINT child_code_key
ALTER TABLE s.child ADD CONSTRAINT child_code_key UNIQUE NULLS NOT DISTINCT (code) INCLUDE (id)
ALTER INDEX s.child_code_key SET (fillfactor = 60)
ALTER TABLE s.younger SET UNLOGGED
ALTER TABLE s.younger SET LOGGED
ALTER TABLE s.child ALTER "Odd.Name" SET DEFAULT 7
ALTER TABLE s.child RENAME TO kid
ALTER TABLE s.kid SET SCHEMA other
ALTER TABLE other.kid OWNER TO someone
COMMENT ON TABLE other.kid IS E'two\\nowner: lines'
COMMENT ON COLUMN other.kid.code IS 'its code'
COMMENT ON COLUMN other.kid.code IS NULL
CREATE TABLE s.log_2 PARTITION OF s.log FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')
ALTER TABLE s.log DETACH PARTITION s.log_2
ALTER TABLE s.log ATTACH PARTITION s.log_2 FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')
CREATE INDEX own_index ON s.log_2 (v)
ALTER TABLE s.log_2 ALTER v SET DEFAULT 5
ALTER TABLE s.log_2 ADD CONSTRAINT filled NOT NULL v NOT VALID
ALTER TABLE s.log_2 VALIDATE CONSTRAINT filled
DROP TABLE s.log_2
CREATE TABLE s.rest PARTITION OF s.log DEFAULT PARTITION BY LIST (v)
ALTER TABLE s.log ADD PRIMARY KEY (at, v)
ALTER TABLE s.log RENAME CONSTRAINT log_at_not_null TO log_at_filled
COMMENT ON CONSTRAINT log_1_pkey ON s.log_1 IS 'its own'
ALTER TABLE s.log DROP CONSTRAINT log_pkey
CREATE INDEX only_here ON ONLY s.log (v)
CREATE INDEX log_1_v ON s.log_1 (v)
ALTER INDEX s.only_here ATTACH PARTITION s.log_1_v
CREATE TABLE s.copied (LIKE s.parent INCLUDING ALL)
CREATE TABLE s.selected AS SELECT 1 AS one
DROP TABLE s.copied
CREATE UNLOGGED TABLE s.quick (i int)
CREATE INDEX fresh ON s.quick USING hash (i)
CREATE UNIQUE INDEX partly ON s.quick (i) WHERE i > 3
ALTER INDEX s.partly RENAME TO in_part
DROP INDEX s.fresh
COMMENT ON INDEX s.in_part IS 'some'
ALTER INDEX other.near SET (ef_construction = 80)
ALTER INDEX s.by_sum ALTER COLUMN 1 SET STATISTICS 100
ALTER INDEX s.by_sum DEPENDS ON EXTENSION vector
ALTER POLICY mine ON s.parent TO PUBLIC
ALTER POLICY mine ON s.parent USING (n = 2)
ALTER POLICY mine ON s.parent RENAME TO ours
COMMENT ON POLICY ours ON s.parent IS 'all of us'
CREATE POLICY more ON s.parent FOR INSERT WITH CHECK (n > 0)
DROP POLICY ours ON s.parent
ALTER VIEW s.seen SET (security_barrier = true)
ALTER VIEW s.seen SET (check_option = 'local')
ALTER VIEW s.seen ALTER name SET DEFAULT 'z'
CREATE OR REPLACE VIEW s.seen AS SELECT id, name, n FROM s.parent WHERE n > 1
COMMENT ON COLUMN s.seen.name IS 'a name'
GRANT SELECT (name) ON s.seen TO someone
ALTER VIEW s.seen RENAME name TO title
ALTER MATERIALIZED VIEW s.kept SET (fillfactor = 50)
ALTER MATERIALIZED VIEW s.kept ALTER name SET STATISTICS 3
ALTER MATERIALIZED VIEW s.kept CLUSTER ON kept_name
DROP MATERIALIZED VIEW s.kept
ALTER FOREIGN TABLE s.away OPTIONS (SET path 'w')
ALTER FOREIGN TABLE s.away ALTER a OPTIONS (SET x 'q')
ALTER FOREIGN TABLE s.away ADD CHECK (a > 0)
ALTER FOREIGN TABLE s.away OPTIONS (ADD more 'x')
ALTER SEQUENCE s.numbers INCREMENT BY 3 CACHE 5 CYCLE
ALTER SEQUENCE s.numbers AS int MAXVALUE 100
ALTER SEQUENCE s.numbers OWNED BY s.quick.i
ALTER SEQUENCE s.numbers OWNED BY NONE
ALTER SEQUENCE s.numbers START 50
ALTER SEQUENCE s.numbers SET UNLOGGED
ALTER SEQUENCE other.child_id_seq MAXVALUE 10
GRANT USAGE ON SEQUENCE other.child_id_seq TO "some one"
CREATE OR REPLACE FUNCTION s.plus(a int, b int DEFAULT 1) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + b + 0'
ALTER FUNCTION s.plus VOLATILE STRICT LEAKPROOF PARALLEL SAFE COST 5
ALTER FUNCTION s.plus SECURITY DEFINER
ALTER FUNCTION s.plus SET work_mem = '1MB'
ALTER FUNCTION s.plus DEPENDS ON EXTENSION vector
ALTER FUNCTION s.plus OWNER TO someone
ALTER FUNCTION s.plus RENAME TO sum_of
CREATE FUNCTION s.rows_of() RETURNS SETOF int LANGUAGE sql ROWS 5 BEGIN ATOMIC SELECT 1; END
CREATE OR REPLACE PROCEDURE s.work(a int) LANGUAGE sql AS 'SELECT a + 1'
REVOKE EXECUTE ON FUNCTION s.sum_of FROM PUBLIC
COMMENT ON FUNCTION s.sum_of IS 'sums'
CREATE OR REPLACE AGGREGATE s.product(int) (sfunc = int4mul, stype = int, initcond = '2')
ALTER AGGREGATE s.product(int) RENAME TO multiplied
COMMENT ON AGGREGATE s.multiplied(int) IS 'times'
ALTER TYPE s.mood ADD VALUE 'middle' BEFORE 'high'
ALTER TYPE s.mood RENAME VALUE 'low' TO 'down'
ALTER TYPE s.pair ADD ATTRIBUTE c int CASCADE
COMMENT ON COLUMN s.pair.a IS 'first'
ALTER TYPE s.two DROP ATTRIBUTE k, ADD ATTRIBUTE k int
COMMENT ON COLUMN s.two.l IS 'x'
COMMENT ON COLUMN s.two.l IS NULL; COMMENT ON COLUMN s.two.k IS 'x'
COMMENT ON COLUMN s.two.k IS NULL; COMMENT ON TYPE s.two IS 'x'
COMMENT ON CONSTRAINT one ON DOMAIN s.even IS 'x'
COMMENT ON CONSTRAINT one ON DOMAIN s.even IS NULL; COMMENT ON CONSTRAINT two ON DOMAIN s.even IS 'x'
COMMENT ON CONSTRAINT two ON DOMAIN s.even IS NULL; COMMENT ON DOMAIN s.even IS 'x'
COMMENT ON CONSTRAINT parent_name_not_null ON s.parent IS 'x'
COMMENT ON CONSTRAINT parent_name_not_null ON s.parent IS NULL; COMMENT ON COLUMN s.parent.name IS 'x'
ALTER TYPE s.span RENAME TO reach
ALTER TYPE s.reach OWNER TO someone
COMMENT ON TYPE s.reach IS 'how far'
REVOKE USAGE ON TYPE s.mood FROM PUBLIC
DROP TYPE s.shell
CREATE TYPE s.shell
CREATE FUNCTION s.shell_in(cstring) RETURNS s.shell LANGUAGE internal IMMUTABLE STRICT AS 'textin'
CREATE FUNCTION s.shell_out(s.shell) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout'
CREATE TYPE s.shell (input = s.shell_in, output = s.shell_out, like = text)
ALTER TYPE s.shell SET (storage = main)
ALTER DOMAIN s.mail SET DEFAULT 'z@z'
ALTER DOMAIN s.mail SET NOT NULL
ALTER DOMAIN s.mail DROP NOT NULL
ALTER DOMAIN s.mail ADD CONSTRAINT short CHECK (length(value) < 99) NOT VALID
ALTER DOMAIN s.mail VALIDATE CONSTRAINT short
ALTER DOMAIN s.mail RENAME CONSTRAINT short TO brief
COMMENT ON CONSTRAINT brief ON DOMAIN s.mail IS 'not long'
ALTER DOMAIN s.mail DROP CONSTRAINT brief
ALTER OPERATOR s.=== (int, int) SET (restrict = eqsel, join = eqjoinsel)
ALTER OPERATOR s.=== (int, int) OWNER TO someone
COMMENT ON OPERATOR s.=== (int, int) IS 'same'
CREATE OPERATOR s.<> (leftarg = int, rightarg = int, function = int4ne, negator = OPERATOR(s.===))
ALTER OPERATOR FAMILY s.ints USING btree ADD OPERATOR 1 <(int, bigint), FUNCTION 1 btint48cmp(int, bigint)
ALTER OPERATOR CLASS s.ints_ops USING btree RENAME TO whole_ops
COMMENT ON OPERATOR CLASS s.whole_ops USING btree IS 'whole'
DROP CAST (s.mood AS int)
CREATE CAST (s.mood AS int) WITH FUNCTION s.mood_to_int(s.mood) AS ASSIGNMENT
COMMENT ON CAST (s.mood AS int) IS 'a number'
ALTER COLLATION s.plain RENAME TO bare
CREATE COLLATION s.loose (provider = builtin, locale = 'C.UTF-8')
ALTER CONVERSION s.to_latin OWNER TO someone
DROP CONVERSION s.to_latin
ALTER TEXT SEARCH DICTIONARY s.words (accept = false)
ALTER TEXT SEARCH CONFIGURATION s.search ADD MAPPING FOR word WITH simple
ALTER TEXT SEARCH CONFIGURATION s.search ALTER MAPPING FOR word WITH s.words, simple
ALTER TEXT SEARCH CONFIGURATION s.search DROP MAPPING FOR asciiword
CREATE TEXT SEARCH TEMPLATE s.lexer (lexize = dsimple_lexize)
COMMENT ON TEXT SEARCH CONFIGURATION s.search IS 'how'
CREATE TEXT SEARCH PARSER s.cutter (start = prsd_start, gettoken = prsd_nexttoken, end = prsd_end, \
lextypes = prsd_lextype)
ALTER STATISTICS s.both SET STATISTICS 5
COMMENT ON STATISTICS s.both IS 'both'
DROP STATISTICS s.both
ALTER EVENT TRIGGER watch DISABLE
ALTER EVENT TRIGGER watch ENABLE ALWAYS
CREATE EVENT TRIGGER again ON sql_drop WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION s.watch()
COMMENT ON EVENT TRIGGER again IS 'drops'
DROP EVENT TRIGGER again
ALTER FOREIGN DATA WRAPPER wrapper OPTIONS (ADD debug 'x')
GRANT USAGE ON FOREIGN DATA WRAPPER wrapper TO someone
ALTER SERVER far VERSION '2' OPTIONS (SET host 'y')
GRANT USAGE ON FOREIGN SERVER far TO someone
COMMENT ON SERVER far IS 'away'
CREATE USER MAPPING FOR PUBLIC SERVER far
DROP USER MAPPING FOR someone SERVER far
ALTER PUBLICATION news SET (publish = 'insert', publish_via_partition_root = true)
ALTER PUBLICATION news SET TABLE s.parent (id, name)
CREATE PUBLICATION folder FOR TABLES IN SCHEMA other
CREATE PUBLICATION everything FOR ALL TABLES
COMMENT ON PUBLICATION everything IS 'all'
ALTER SUBSCRIPTION feed SET (binary = true)
ALTER SUBSCRIPTION feed SET (origin = none)
ALTER SUBSCRIPTION feed SET (run_as_owner = true)
ALTER SUBSCRIPTION feed SET (password_required = false)
DROP SUBSCRIPTION feed
CREATE OR REPLACE TRUSTED LANGUAGE plain HANDLER plpgsql_call_handler
COMMENT ON LANGUAGE plain IS 'as it is'
CREATE ACCESS METHOD heaps TYPE TABLE HANDLER heap_tableam_handler
ALTER TABLE s.quick SET ACCESS METHOD heaps
ALTER TABLE s.log SET ACCESS METHOD heaps
ALTER TABLE s.log SET ACCESS METHOD heap
ALTER TABLE s.log SET ACCESS METHOD DEFAULT
CREATE TRANSFORM FOR int LANGUAGE plpgsql (FROM SQL WITH FUNCTION prsd_lextype(internal))
ALTER DEFAULT PRIVILEGES FOR ROLE someone IN SCHEMA s GRANT SELECT ON TABLES TO "some one"
ALTER DEFAULT PRIVILEGES FOR ROLE someone REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC
REVOKE SELECT ON s.parent FROM someone
GRANT SELECT ON s.parent TO someone WITH GRANT OPTION
GRANT USAGE ON SCHEMA s TO someone
SET ROLE someone; GRANT SELECT ON s.parent TO "some one"; RESET ROLE
REVOKE INSERT (name) ON s.parent FROM someone
GRANT SELECT (ctid) ON s.parent TO someone
GRANT SELECT ON s.older TO PUBLIC
GRANT MAINTAIN ON s.older TO someone
REVOKE ALL ON s.older FROM postgres
GRANT SELECT ON pg_catalog.pg_authid TO someone
GRANT SELECT (rolname) ON pg_catalog.pg_authid TO "some one"
REVOKE EXECUTE ON FUNCTION pg_catalog.lo_get(oid) FROM PUBLIC
REVOKE EXECUTE ON FUNCTION vector_dims(vector) FROM PUBLIC
REVOKE ALL ON FUNCTION vector_dims(vector) FROM postgres
GRANT CREATE ON SCHEMA public TO someone
ALTER SCHEMA other OWNER TO someone
ALTER SCHEMA other RENAME TO another
COMMENT ON SCHEMA another IS 'more'
COMMENT ON SCHEMA public IS 'ours'
COMMENT ON EXTENSION vector IS 'near'
ALTER EXTENSION vector DROP FUNCTION l2_norm(halfvec)
ALTER EXTENSION vector ADD FUNCTION l2_norm(halfvec)
ALTER EXTENSION vector SET SCHEMA s
DROP SCHEMA another CASCADE
DROP EXTENSION vector CASCADE
"""

NOTHING = """
ANALYZE
VACUUM s.parent
REINDEX TABLE s.parent
INSERT INTO s.parent (name, n) VALUES ('x', 1)
UPDATE s.parent SET n = 1
SELECT setval('s.numbers', 77), nextval('s.numbers')
ALTER SEQUENCE s.numbers RESTART WITH 90
REVOKE SELECT ON s.parent FROM someone; GRANT SELECT ON s.parent TO someone
GRANT SELECT ON s.older TO someone; REVOKE SELECT ON s.older FROM someone
GRANT ALL ON s.typed TO postgres
DROP INDEX s.by_name; CREATE INDEX by_name ON s.parent (name)
DROP VIEW s.seen; CREATE VIEW s.seen AS SELECT id, name, n FROM s.parent
CREATE OR REPLACE FUNCTION s.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'
ALTER TABLE s.older ADD COLUMN passing int; ALTER TABLE s.older DROP COLUMN passing
REFRESH MATERIALIZED VIEW s.kept
CREATE TEMPORARY TABLE passing (i int)
COMMENT ON TABLE s.parent IS 'x'; COMMENT ON TABLE s.parent IS NULL
SELECT lo_create(4711)
NOTIFY s; LISTEN s
ALTER TABLE s.parent DISABLE TRIGGER touch; ALTER TABLE s.parent ENABLE TRIGGER touch
TRUNCATE s.parent CASCADE
ALTER DEFAULT PRIVILEGES FOR ROLE someone GRANT SELECT ON TABLES TO PUBLIC; \
ALTER DEFAULT PRIVILEGES FOR ROLE someone REVOKE SELECT ON TABLES FROM PUBLIC
GRANT INSERT (n) ON s.parent TO someone; REVOKE INSERT (n) ON s.parent FROM someone
UPDATE pg_catalog.pg_subscription SET subtwophasestate = 'e'
ALTER SYSTEM SET log_min_messages = 'warning'
ALTER ROLE someone SET work_mem = '5MB'
GRANT SELECT ON s.child TO "some one"; GRANT SELECT ON s.child TO someone; \
REVOKE ALL ON s.child FROM "some one", someone
ALTER SERVER far VERSION ''
ALTER SERVER far OPTIONS (DROP host); ALTER SERVER far OPTIONS (ADD host 'x')
ALTER FOREIGN TABLE s.away ALTER a OPTIONS (DROP x, ADD u 'v'); \
ALTER FOREIGN TABLE s.away ALTER a OPTIONS (DROP u, ADD x 'y')
COMMENT ON CONSTRAINT small ON s.younger IS 'inherited'
COMMENT ON RULE "_RETURN" ON s.seen IS 'a view'
SET search_path = s, public; ALTER DOMAIN s.count SET DEFAULT nextval('numbers'); RESET search_path
SET timezone = 'Asia/Kathmandu'; ALTER DOMAIN s.since SET DEFAULT '2026-01-01 00:00+00'; RESET timezone
"""
