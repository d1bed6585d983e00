# THERE: SQL that prints the hashes of a table's rows in the running server, reached by OTHER_*. HERE: SQL for the copy,
# which libpq's variables name: it reads them from its standard input and counts.
# Runs behind leash.sh, where the toolbox puts it: on this machine, or in the server's container. Called by
# upgrade/checks/verify.py. Why shell: a pipe between two psql beside the servers; millions of rows would go through
# this machine otherwise.
said=$(mktemp)
failed=$(mktemp)
{
    PGHOST=$OTHER_HOST PGPORT=$OTHER_PORT PGUSER=$OTHER_USER PGPASSFILE=$OTHER_PASSFILE \
        PGREQUIREAUTH=$OTHER_REQUIREAUTH PGCHANNELBINDING=$OTHER_CHANNELBINDING \
        PGSSLMODE=$OTHER_SSLMODE PGSSLROOTCERT=$OTHER_SSLROOTCERT \
        psql -XAtqw -v ON_ERROR_STOP=1 -f "$THERE" 2>>"$said" || echo failed >"$failed"
} | psql -XAtqw -v ON_ERROR_STOP=1 -f "$HERE" 2>>"$said" || echo failed >"$failed"
if [ -s "$failed" ]; then
    cat "$said"
    code=1
fi
rm "$said" "$failed"
exit "${code:-0}"
