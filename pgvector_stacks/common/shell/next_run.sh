# When the next backup is due, in seconds since 1970, after "$1", never at it. SECOND: of the day, in UTC.
# Runs in the schedule's container, in front of backup_loop.sh. Called by backup/daily/sidecar.py. Why shell: the
# server's image has no Python.
next_run() {
    due=$(($1 - $1 % 86400 + SECOND))
    if [ "$due" -le "$1" ]; then due=$((due + 86400)); fi
    echo "$due"
}
