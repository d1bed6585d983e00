# What lies in the volume: a line for each data directory, "WHERE MAJOR", WHERE relative to the volume; "MAJOR/adopting"
# is the journal of an adoption that was interrupted.
# Runs in a throw-away container, as the image's postgres user, the volume mounted read-only at $VOLUME. Called by
# docker/data_volume.py. Why shell: the Docker API can't list a directory, and what the server's user can't enter has to
# be seen as that user.
cd "$VOLUME"
for journal in */adopting; do
    if [ -f "$journal" ]; then echo "$journal $(dirname "$journal")"; fi
done
for file in PG_VERSION data/PG_VERSION pgdata/PG_VERSION */docker/PG_VERSION; do
    if [ -f "$file" ]; then echo "$(dirname "$file") $(cat "$file")"; fi
done
# a directory that can't be entered looks empty: never to be taken for none
for place in . data */docker; do
    if [ -d "$place" ] && ! { [ -r "$place" ] && [ -x "$place" ]; }; then
        echo "unreadable: $place, owner $(stat -c %u "$place"), mode $(stat -c %a "$place")"
    fi
done
