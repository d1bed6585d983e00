# A server on an empty directory of its own, with the settings to be tried: "$@". The volume is mounted read-only.
# Runs as process 1 of a throw-away container, as the image's postgres user. Called by docker/data_volume.py. Why shell:
# the limits to be tried are those of one container, in which initdb comes first and the server is what ends it.
umask 077
initdb -N -D "$TRIAL" -U postgres -E UTF8 --locale=C.UTF-8 --auth=scram-sha-256 --pwfile=/tmp/pgstack-password >/dev/null
exec postgres -D "$TRIAL" "$@"
