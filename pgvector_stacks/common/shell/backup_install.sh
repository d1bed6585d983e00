# Puts what the schedule's container reads into its volume, behind install.sh, and looks whether it could work. OWNER:
# UID:GID of the backups' folder, which is mounted at $BACKUPS.
# Runs in a throw-away container, as root. Called by backup/daily/sidecar.py. Why shell: put_archive can give a file its
# owner, but can't replace the former one by a rename, nor try as that owner whether the folder can be written.
uid=${OWNER%:*} gid=${OWNER#*:}
chown -R "$OWNER" "$FOLDER"
install -o "$uid" -g "$gid" -m 400 /tmp/pgstack-password "$VOLUME/passfile.unfinished"
mv -T "$VOLUME/passfile.unfinished" "$VOLUME/passfile" # a run reads the former or the new one
install -o "$uid" -g "$gid" -m 400 /tmp/pgstack-root.crt "$VOLUME/root.crt.unfinished"
mv -T "$VOLUME/root.crt.unfinished" "$VOLUME/root.crt"
install -o "$uid" -g "$gid" -m 400 /tmp/pgstack-backup-key "$VOLUME/backup-key.unfinished"
mv -T "$VOLUME/backup-key.unfinished" "$VOLUME/backup-key"
chown "$OWNER" "$VOLUME"
if ! perl -MJSON::PP -MDigest::SHA -e 1; then
    echo "pgstack: the image has no perl with JSON::PP and Digest::SHA"
    exit 1
fi
setpriv --reuid="$uid" --regid="$gid" --clear-groups sh -ec 'rm "$(mktemp "$BACKUPS/.writable.XXXXXX")"' || {
    echo "pgstack: user $uid can't write into the folder"
    exit 1
}
