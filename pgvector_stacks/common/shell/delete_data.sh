# Deletes what a stack's servers left in the directory or volume mounted at $VOLUME, and nothing else; then a line "left
# ENTRY" for each thing that stays. Code 75: a server still runs on it.
# Runs in a throw-away container, as the image's postgres user and, where that isn't enough, as root. Called by
# docker/data_volume.py. Why shell: the Docker API deletes whole volumes only, and takes no lock.
cd "$VOLUME"
for major in [0-9][0-9]; do
    [ -d "$major" ] || continue
    [ -e "$major/pgstack.lock" ] || [ -f "$major/docker/PG_VERSION" ] || continue
    [ ! -e "$major/pgstack.lock" ] || flock -n "$major/pgstack.lock" true || exit 75
done
for major in [0-9][0-9]; do
    if [ -e "$major/pgstack.lock" ] || [ -f "$major/docker/PG_VERSION" ]; then rm -rf "$major"; fi
done
rm -rf pgstack-* 2>/dev/null || true # what is root's stays, and is left
# a mount point that Docker made for the images up to 17, where it is empty
rmdir data 2>/dev/null || true
ls -A | sed 's/^/left /'
