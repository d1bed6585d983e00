# When the process that waits for us is killed: stops the server on the copy in DIRECTORY and removes it. LEASH: a FIFO,
# or empty. What copies ends by the same leash, but maybe a moment later.
# Runs where the toolbox puts it: on this machine, or in the server's container. Called by upgrade/checks/verify.py. Why
# shell: it has to outlive a killed Python.
[ -n "$LEASH" ] || exit 0
(
    cat "$LEASH" >/dev/null
    for _ in 1 2 3 4 5; do
        [ -e "$DIRECTORY" ] || break
        pg_ctl stop -m immediate -t 60 -D "$DIRECTORY" || true
        rm -rf "$DIRECTORY" "$DIRECTORY.log" "$DIRECTORY.pid" || true
        sleep 1
    done
    rmdir "$(dirname "$DIRECTORY")" || true
    rm -rf "$(dirname "$LEASH")"
) </dev/null >/dev/null 2>&1 &
