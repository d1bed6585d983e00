# What lies in the volume: a line for each data directory, "WHERE MAJOR", WHERE relative to the volume.
# Runs as the image's postgres user, the volume mounted read-only at $VOLUME.
cd "$VOLUME"
for file in PG_VERSION data/PG_VERSION */docker/PG_VERSION; do
    if [ -f "$file" ]; then echo "$(dirname "$file") $(cat "$file")"; fi
done
if [ ! -r . ]; then echo "unreadable: owner $(stat -c %u .), mode $(stat -c %a .)"; fi
