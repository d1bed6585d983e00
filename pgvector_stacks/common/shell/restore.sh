# pg_restore what LIST names of DUMP. TARGET: a connection string; OPTIONS: words. After leash.sh.
export PGAPPNAME=pgstack
# shellcheck disable=SC2086  # OPTIONS are words
pg_restore -w --exit-on-error --no-tablespaces $OPTIONS -L "$LIST" -d "$TARGET" "$DUMP"
