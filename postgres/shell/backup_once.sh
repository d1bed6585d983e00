# What `pgstack backup create` does, in the container of the schedule: the same folder, lock, files and retention. A run
# that fails or is killed leaves nothing with a final name. BACKUPS: the folder; KEEP: how many stay.
umask 077
here=$(dirname "$0")
stamp() { date -u +%Y%m%dT%H%M%SZ; }

exec 9>"$BACKUPS/.lock"
flock -w 3600 9 || { echo "another \`pgstack backup\` works in the folder for an hour"; exit 75; }
rm -rf "$BACKUPS"/*.unfinished # what a killed run left: we are alone
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

perl "$here/backup.pl" doomed "$BACKUPS" "$KEEP" | while IFS= read -r old; do
    mv -T "$BACKUPS/$old" "$BACKUPS/$old.unfinished" # a killed removal leaves no half of one
    rm -rf "$BACKUPS/$old.unfinished" "$BACKUPS/$old.drill.json"
    echo "removed $old: $KEEP are kept"
done
