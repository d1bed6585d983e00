# Dumps one database, and counts its rows in the dump's own snapshot: psql holds the snapshot while it runs pg_dump.
# -Z1: vectors hardly compress; the default level takes four times as long for a tenth less. PGDATABASE and the rest of
# libpq's variables; FOLDER: to be made; CONTENTS: the question's file; JOBS.
# Runs behind leash.sh, where the toolbox puts it: on this machine, or in the server's container, and in the schedule's
# container. Called by backup/create.py, backup/daily/sidecar.py. Why shell: one text for both, and the image has no
# Python.
umask 077
export PGOPTIONS="-c search_path=pg_catalog,pg_temp -c role=none -c local_preload_libraries= -c quote_all_identifiers=off -c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0 -c lock_timeout=60s"
export PGAPPNAME=pgstack PGCLIENTENCODING=UTF8 FOLDER JOBS
psql -XAtqw -v ON_ERROR_STOP=1 -v contents="$CONTENTS" -f - <<'END'
SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout' \g /dev/null
SELECT current_setting('is_superuser') = 'on' AS superuser \gset
-- an administrator counts rows by a role that is gone with the question. Another one doesn't count at all, since a table's
-- owner wrote what a query of it computes, and writes nothing: backup.pl counts the dump's lines
\if :superuser
BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE;
\else
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT set_config('pgstack.uncounted', 'yes', false) \g /dev/null
SELECT EXISTS (SELECT FROM pg_user_mapping) AS mapped \gset
\if :mapped
\warn user mappings are in it without their passwords, which only an administrator reads: pgstack backup create
\endif
\endif
SELECT pg_export_snapshot() AS snapshot \gset
\setenv SNAPSHOT :snapshot
\o `printf %s "$FOLDER.before"`
\i :contents
\o
\! pg_dump -w -Fd -Z1 -j "$JOBS" --snapshot="$SNAPSHOT" --lock-wait-timeout=60s -f "$FOLDER" </dev/null; echo $? >"$FOLDER.code"
SELECT set_config('pgstack.sequences_only', 'yes', false) \g /dev/null
\o `printf %s "$FOLDER.after"`
\i :contents
\o
COMMIT;
END
[ "$(cat "$FOLDER.code")" = 0 ]
rm "$FOLDER.code"
