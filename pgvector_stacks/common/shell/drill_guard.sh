# When the process that waits for us is killed: stop the throw-away server in DIRECTORY and remove it. LEASH: a FIFO.
[ -n "$LEASH" ] || exit 0
(
    cat "$LEASH" >/dev/null
    if [ -d "$DIRECTORY" ]; then
        pg_ctl stop -m immediate -t 60 -D "$DIRECTORY" || true
        rm -rf "$DIRECTORY" "$DIRECTORY.log"
    fi
    rm -rf "$(dirname "$LEASH")"
) </dev/null >/dev/null 2>&1 &
