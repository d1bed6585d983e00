INSERT INTO pgstack.ledger AS was
       (name, position, sha256, normalised, statements, duration_ms, baseline, applied_by, git_commit, pgvector_version)
VALUES (%(name)s, %(position)s, %(sha256)s, %(normalised)s, %(statements)s, %(duration_ms)s, %(baseline)s,
        %(applied_by)s, %(git_commit)s, %(pgvector_version)s)
ON CONFLICT (name) DO UPDATE
   SET position = excluded.position, sha256 = excluded.sha256, normalised = excluded.normalised,
       statements = excluded.statements, duration_ms = excluded.duration_ms, applied_at = clock_timestamp(),
       applied_by = excluded.applied_by, git_commit = excluded.git_commit,
       server_version = current_setting('server_version'), pgvector_version = excluded.pgvector_version
