# Copies pg_hba.conf and the TLS files into a folder of the volume that is named after their content and never changed:
# a server that still runs with the former ones keeps them. As root: the server's user may read them, and neither change
# them nor rename the folder, since the volume is root's with the sticky bit. As the image's postgres user, where the
# volume lies on what gives root no rights (NFS): they are that user's. What has the name already may be a process's of
# that user, which would keep a file open to write: it goes, and one that comes instead is an error, here as at the end.
# Runs in a throw-away container, as root or as the image's postgres user. Called by docker/data_volume.py,
# backup/daily/sidecar.py. Why shell: put_archive can neither rename a folder nor refuse one that is there.
umask 077
rm -rf "$FOLDER.unfinished"
mkdir "$FOLDER.unfinished"
cp /tmp/pgstack-file-* "$FOLDER.unfinished/"
for file in "$FOLDER.unfinished"/pgstack-file-*; do
    mv "$file" "$FOLDER.unfinished/${file##*/pgstack-file-}"
done
if [ "$(id -u)" = 0 ]; then
    group=$(id -g postgres)
    chown -R "0:$group" "$FOLDER.unfinished"
    chmod 640 "$FOLDER.unfinished"/*
    chmod 2750 "$FOLDER.unfinished" # a file made again is the group's, too
    chown "0:$group" "$VOLUME"
    chmod 1775 "$VOLUME"
else
    chmod 600 "$FOLDER.unfinished"/*
fi
rm -rf "$FOLDER"
mv -T "$FOLDER.unfinished" "$FOLDER"
