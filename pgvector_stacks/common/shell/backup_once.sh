# What `pgstack backup create` does, in the container of the schedule: the same folder, lock, files and retention. A run
# that fails or is killed leaves nothing with a final name. BACKUPS: the folder; KEEP: how many stay. Exit code 9: it is
# made, but the old ones couldn't be removed.
# Runs in the schedule's container, by backup_now.sh. Called by backup/daily/sidecar.py, as once.sh. Why shell: the
# server's image has no Python, and flock, sync and mv do this work.
umask 077
here=$(dirname "$0")
stamp() { date -u +%Y%m%dT%H%M%SZ; }

exec 9>"$BACKUPS/.lock"
flock -w 3600 9 || { echo "another \`pgstack backup\` works in the folder for an hour"; exit 75; }
code=0
rm -rf "$BACKUPS"/*.unfinished || code=9 # what a killed run left: we are alone
name=$(stamp)
while [ -e "$BACKUPS/$name" ]; do
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
    gone=$BACKUPS/$old.unfinished # a killed removal leaves no half of one
    if mv -T "$BACKUPS/$old" "$gone" && rm -rf "$gone" "$BACKUPS/$old.drill.json"; then
        echo "removed $old: $KEEP are kept"
    else
        code=9
    fi
done
exit "$code"
