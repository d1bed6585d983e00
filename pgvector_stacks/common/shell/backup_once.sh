# What `pgstack backup create` does, in the container of the schedule: the same folder, lock, files and retention. A run
# that fails or is killed leaves nothing with a final name. BACKUPS: the folder; KEEP: how many stay. Exit code 9: it is
# made, but the old ones couldn't be removed.
# Runs in the schedule's container, by backup_now.sh. Called by backup/daily/sidecar.py, as once.sh. Why shell: the
# server's image has no Python, and flock, sync and mv do this work.
umask 077
here=$(dirname "$0")
stamp() { date -u +%Y%m%dT%H%M%SZ; }

exec 9<>"$BACKUPS/.lock" # not 9>, which waits for the reader of a FIFO, and empties what a link leads to
flock -w 3600 9 || { echo "another \`pgstack backup\` works in the folder for an hour"; exit 75; }
code=0
rm -rf "$BACKUPS"/*.unfinished || code=9 # what a killed run left: we are alone
name=$(stamp) tries=3
while [ -e "$BACKUPS/$name" ] || [ -L "$BACKUPS/$name" ]; do
    [ "$((tries -= 1))" -gt 0 ] || { echo "files are named after the coming seconds: who may write to the folder?"; exit 73; }
    sleep 1
    name=$(stamp)
done
unfinished=$BACKUPS/$name.unfinished
trap 'rm -rf "$unfinished"' EXIT
mkdir "$unfinished"
perl "$here/backup.pl" make "$unfinished" "$name"
find "$unfinished" -exec sync {} + # on the disk before it has its name
mv -T "$unfinished" "$BACKUPS/$name"
sync "$BACKUPS"
echo "$name is made"

doomed=$(perl "$here/backup.pl" doomed "$BACKUPS" "$KEEP") || exit 9
for old in $doomed; do
    [ "$old" != "$name" ] || continue # folders with later names don't push out what was just made
    gone=$BACKUPS/$old.unfinished # a killed removal leaves no half of one
    if mv -T "$BACKUPS/$old" "$gone" && rm -rf "$gone" "$BACKUPS/$old.drill.json"; then
        echo "removed $old: $KEEP are kept"
    else
        code=9
    fi
done
exit "$code"
