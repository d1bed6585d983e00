# Ends all of what follows, and removes the folder of LEASH, when the process that waits for us is killed. LEASH: a
# FIFO, or empty.
# Runs in front of a script, where the toolbox puts it: on this machine, or in the server's container. Called by
# backup/create.py, upgrade/checks/verify.py. Why shell: it has to outlive a killed Python.
if [ -n "$LEASH" ]; then
    (cat "$LEASH" >/dev/null; rm -rf "$(dirname "$LEASH")"; kill -TERM 0) </dev/null >/dev/null 2>&1 &
    watcher=$!
    trap 'kill "$watcher" 2>/dev/null || true' EXIT
fi
