# Copies pg_hba.conf and the TLS files into a folder of the volume that is named after their content and never changed:
# a server that still runs with the former ones keeps them.
umask 077
mkdir -p "$FOLDER.unfinished"
cp /tmp/pgstack-file-* "$FOLDER.unfinished/"
for file in "$FOLDER.unfinished"/pgstack-file-*; do
    mv "$file" "$FOLDER.unfinished/${file##*/pgstack-file-}"
done
chmod 600 "$FOLDER.unfinished"/*
rm -rf "$FOLDER"
mv "$FOLDER.unfinished" "$FOLDER"
