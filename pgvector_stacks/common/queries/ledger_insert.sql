INSERT INTO pgstack.ledger AS was
       (name, position, sha256, normalised, statements, duration_ms, baseline, applied_by, git_commit, pgvector_version)
SELECT ran.*, %(applied_by)s, %(git_commit)s, %(pgvector_version)s
  FROM unnest(%(names)s::text[], %(positions)s::integer[], %(sha256)s::text[], %(normalised)s::text[],
              %(statements)s::integer[], %(duration_ms)s::integer[], %(baseline)s::boolean[]) AS ran
ON CONFLICT (name) DO UPDATE
   SET position = excluded.position, sha256 = excluded.sha256, normalised = excluded.normalised,
       statements = excluded.statements, duration_ms = excluded.duration_ms, applied_at = clock_timestamp(),
       applied_by = excluded.applied_by, git_commit = excluded.git_commit,
       server_version = current_setting('server_version'), pgvector_version = excluded.pgvector_version
