# Restores with pg_restore what LIST names of DUMP. TARGET: a connection string; OPTIONS: words.
# Runs behind leash.sh, where the toolbox puts it: on this machine, or in the server's container. Called by
# backup/restoring/restore_database.py. Why shell: the leash ends it.
export PGAPPNAME=pgstack
# shellcheck disable=SC2086  # OPTIONS are words
pg_restore -w --exit-on-error --no-tablespaces $OPTIONS -L "$LIST" -d "$TARGET" "$DUMP"
