# Runs the SQL in FILE through psql: each statement a transaction of its own. libpq's variables say where. A server
# whose C library is another one than its data's warns at every connection: that is shown only after a failure.
# Runs behind leash.sh, where the toolbox puts it: on this machine, or in the server's container. Called by
# upgrade/checks/verify.py. Why shell: psql's warnings are kept from its answer beside psql.
said=$(mktemp)
psql -XAtqw -v ON_ERROR_STOP=1 -f "$FILE" 2>"$said" || code=$?
if [ -n "${code:-}" ]; then cat "$said"; fi
rm "$said"
exit "${code:-0}"
