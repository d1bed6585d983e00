# Waits for the time of the day, makes a backup, and waits again; behind next_run.sh. What it starts ends with it.
# Runs as process 1 of the schedule's container. Called by backup/daily/sidecar.py, as loop.sh. Why shell: nobody else
# is there when a backup is due, and the server's image has no Python.
TRIES=3 PAUSE_S=600

say() { echo "$(date -u '+%Y-%m-%d %H:%M:%S') $*"; }
nap() {
    sleep "$1" &
    wait $! # unlike sleep itself, interrupted by a signal
}
trap 'exit 0' TERM INT

while :; do
    next=$(next_run "$(date +%s)")
    say "next backup $(date -u -d "@$next" '+%Y-%m-%d %H:%M') UTC"
    while left=$((next - $(date +%s))) && [ "$left" -gt 0 ]; do
        nap "$((left < 30 ? left : 30))" # a clock that is set, or a machine that slept, is noticed
    done
    try=1
    while :; do
        say "begins"
        sh -eu "$(dirname "$0")/now.sh" &
        code=0
        wait $! || code=$?
        case $code in 0 | 9) break ;; esac # 9: it is made
        if [ "$try" -ge "$TRIES" ]; then
            say "gives up until tomorrow"
            break
        fi
        try=$((try + 1))
        say "tries again in $PAUSE_S s"
        nap "$PAUSE_S"
    done
done
