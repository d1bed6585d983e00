# When the process that waits for us is killed: stops the throw-away server in DIRECTORY and removes it. LEASH: a FIFO.
# Runs where the toolbox puts it: on this machine, or in the server's container. Called by backup/drill.py. Why shell:
# it has to outlive a killed Python.
[ -n "$LEASH" ] || exit 0
(
    cat "$LEASH" >/dev/null
    if [ -d "$DIRECTORY" ]; then
        pg_ctl stop -m immediate -t 60 -D "$DIRECTORY" || true
        rm -rf "$DIRECTORY" "$DIRECTORY.log"
    fi
    rm -rf "$(dirname "$LEASH")"
) </dev/null >/dev/null 2>&1 &
