# Run the SQL in FILE through psql: each statement a transaction of its own. libpq's variables say where. After leash.sh.
# A server whose C library is another one than its data's warns at every connection: shown only after a failure.
said=$(mktemp)
psql -XAtqw -v ON_ERROR_STOP=1 -f "$FILE" 2>"$said" || code=$?
if [ -n "${code:-}" ]; then cat "$said"; fi
rm "$said"
exit "${code:-0}"
