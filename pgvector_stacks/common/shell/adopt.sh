# Moves a data directory made by the old images from $VOLUME/$PLACE to $VOLUME/$MAJOR/docker, in the same file system.
# "$@" are the server's own arguments.
# Runs behind journal.sh in a throw-away container, as the image's postgres user; nobody else uses the volume. Called by
# docker/adoption.py. Why shell: one process holds the lock and the journal from the first look to the last move, beside
# the data; an exec for each step could be interrupted in between with nobody there to go back.
#
# Invariant: once this or move_back.sh has ended without being killed, every entry is at the old place and there is no
# journal, or every entry is at the new place and there is none. In between there is a journal, made durable before the
# first entry moves and removed after the last: it tells a half-done move from everything else, and the way back.
# While there is one no server can start: pg_control moves first and comes back last, so that the old place lacks it;
# PG_VERSION moves last, so that the new place lacks that.
#
# Steps: undo what an interrupted run left -> would the server start? (single-user mode at the old place, with the
# settings it is to have; recovers what a killed server left, changes nothing else) -> journal -> move -> forget it.
umask 077
take_lock
move_back
if [ -f "$new/PG_VERSION" ]; then
    say "is adopted already"
    exit 0
fi
old=$VOLUME/$PLACE
# of a container that was killed and is gone: its process 1 would be taken for ours
rm -f "$old/postmaster.pid"

if ! found=$(echo "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate" |
    postgres --single -D "$old" -c exit_on_error=on "$@" template1); then
    say "the server doesn't start on the data as it lies"
    exit 1
fi
databases=$(echo "$found" | sed -n 's/^.*datname = "\(.*\)"[[:space:]]*(typeid.*$/\1/p')
for wanted in postgres "$DATABASE"; do
    if ! echo "$databases" | grep -Fqx "$wanted"; then
        say "no database $wanted among $(echo $databases)"
        exit 1
    fi
done
# each extension must be of the image's version, or be able to become it
asked="SELECT e.extname || ' ' || e.extversion || coalesce(', the image has ' || a.default_version, ', the image has \
none of it') AS wrong FROM pg_extension e LEFT JOIN pg_available_extensions a ON a.name = e.extname WHERE CASE WHEN \
a.name IS NULL THEN true WHEN a.default_version = e.extversion THEN false ELSE NOT EXISTS (SELECT FROM \
pg_extension_update_paths(e.extname) p WHERE p.source = e.extversion AND p.target = a.default_version AND p.path IS \
NOT NULL) END"
echo "$databases" | while IFS= read -r database; do
    wrong=$(printf '%s\n' "SET search_path = pg_catalog, pg_temp" "$asked" |
        postgres --single -D "$old" -c exit_on_error=on "$@" "$database" |
        sed -n 's/^.*wrong = "\(.*\)"[[:space:]]*(typeid.*$/\1/p' | sed 1q)
    if [ -n "$wrong" ]; then
        say "database $database has the extension $wrong"
        exit 1
    fi
done || exit 1
control() { LC_ALL=C pg_controldata -D "$1" | sed -n "s/^$2: *//p"; }
if [ -e "$old/postmaster.pid" ] || [ "$(control "$old" 'Database cluster state')" != "shut down" ]; then
    say "another server was started on the data meanwhile"
    exit 1
fi
identifier=$(control "$old" 'Database system identifier')
device=$(stat -c %d "$VOLUME")

{
    echo "$PLACE"
    echo global
    ls -A "$old" | while IFS= read -r entry; do
        case $old/$entry in
            "$old/global" | "$old/PG_VERSION" | "$old/lost+found") ;;
            "$VOLUME/./$MAJOR" | "$VOLUME"/./pgstack-*) ;; # the volume's own, where its root is the old place
            "$VOLUME/./data") if [ -n "$(ls -A "$old/data")" ]; then echo data; fi ;; # empty: a mount point Docker made
            *) echo "$entry" ;;
        esac
    done
    echo PG_VERSION
} >"$journal.unfinished"
sed 1d "$journal.unfinished" | while IFS= read -r entry; do
    if [ "$(stat -c %d "$old/$entry")" != "$device" ]; then
        say "$entry lies on another file system than the volume"
        exit 1
    fi
done
sync "$journal.unfinished"
mv -T "$journal.unfinished" "$journal"
sync "$VOLUME/$MAJOR" "$VOLUME"

move_all() {
    mkdir -p "$new" || return 1
    sed 1d "$journal" | while IFS= read -r entry; do
        if [ "$entry" = PG_VERSION ]; then sync "$old" "$new" || exit 1; fi
        move "$old" "$new" "$entry" || exit 1
        if [ "$entry" = global ]; then sync "$old" "$new" || exit 1; fi
    done || return 1
    sync "$old" "$new" "$VOLUME/$MAJOR" || return 1
    [ -f "$new/PG_VERSION" ] && [ "$(control "$new" 'Database system identifier')" = "$identifier" ]
}
if ! move_all; then
    if move_back; then
        say "the move failed; all is back at its old place"
    else
        say "the move failed, and so did the way back: the next run tries it again"
    fi
    exit 1
fi
rm "$journal"
sync "$VOLUME/$MAJOR"
if [ "$PLACE" != . ]; then rmdir "$old" || true; fi
say "moved"
