# What an adoption has to know of a volume, a fact a line: "NAME VALUE". Nothing is changed.
# Runs in a throw-away container of the server's image, as root, so that nobody's permissions hide anything; the volume
# is mounted read-only at $VOLUME. Called by docker/adoption.py. Why shell: the Docker API reads a file of a volume only
# as a tar archive of it, one request each, and can neither search it nor run pg_controldata.
cd "$VOLUME"
echo "image-uid $(id -u postgres)"
echo "volume-uid $(stat -c %u .)"
for journal in */adopting; do
    if [ -f "$journal" ]; then echo "journal $(dirname "$journal")"; fi
done
for file in */docker/PG_VERSION; do
    if [ -f "$file" ]; then echo "served $(cat "$file")"; fi
done
for directory in */docker; do
    if [ -d "$directory" ] && [ ! -f "$directory/PG_VERSION" ] && [ -n "$(ls -A "$directory")" ]; then
        echo "in-the-way $directory"
    fi
done
# the volume's root: mounted at /var/lib/postgresql/data; a folder: mounted above it, or PGDATA set to .../data/pgdata
for place in . data pgdata; do
    if [ ! -f "$place/PG_VERSION" ]; then continue; fi
    echo "place $place"
    echo "major $(cat "$place/PG_VERSION")"
    echo "state $(LC_ALL=C pg_controldata -D "$place" 2>/dev/null | sed -n 's/^Database cluster state: *//p')"
    # an empty folder data in the root is a mount point that Docker made
    stranger=$(find "$place" \( -path ./lost+found -o -path ./data -empty \) -prune -o \
        ! -user postgres -printf '%U %p\n' -quit)
    if [ -n "$stranger" ]; then echo "stranger $stranger"; fi
    for link in "$place/pg_wal" "$place"/pg_tblspc/*; do
        if [ -L "$link" ]; then echo "link $link -> $(readlink "$link")"; fi
    done
    for signal in standby.signal recovery.signal; do
        if [ -e "$place/$signal" ]; then echo "signal $signal"; fi
    done
    for file in postgresql.auto.conf postgresql.conf; do
        grep -n '^[^#]*/var/lib/postgresql/data' "$place/$file" 2>/dev/null | sed "s|^|path $file:|" || true
    done
done
