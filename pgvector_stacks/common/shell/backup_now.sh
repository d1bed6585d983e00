# One backup, now. A failure is noted beside the backups.
# Runs in the schedule's container: by backup_loop.sh, or by hand with `docker exec`. Called by backup/daily/sidecar.py,
# as now.sh. Why shell: the server's image has no Python.
said=/tmp/said.$$
code=0
sh -eu "$(dirname "$0")/once.sh" >"$said" 2>&1 || code=$?
cat "$said"
failed=$BACKUPS/schedule.failed
if [ "$code" = 0 ]; then
    rm -f "$failed"
else
    umask 077
    { date -u '+%Y-%m-%d %H:%M UTC'; tail -n 8 "$said"; } >"$said.failed"
    mv -fT "$said.failed" "$failed" # not >"$failed", which waits for the reader of a FIFO
fi
rm "$said"
exit "$code"
