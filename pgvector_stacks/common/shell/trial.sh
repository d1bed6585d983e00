# A server on an empty directory of its own, with the settings to be tried: "$@". The volume is mounted read-only.
umask 077
initdb -N -D "$TRIAL" -U postgres -E UTF8 --locale=C.UTF-8 --auth=scram-sha-256 --pwfile=/tmp/pgstack-password >/dev/null
exec postgres -D "$TRIAL" "$@"
