# Makes the data directory of one major in the volume, or, where it is there already, makes the given verifier the
# administrator's password; an adopted one may lack that role. Nobody else may serve the directory meanwhile. The last
# line is "identifier NUMBER by initdb|found".
# Runs in a throw-away container, as the image's postgres user. Called by docker/data_volume.py. Why shell: one process
# holds the lock while it runs PostgreSQL's programs; an exec for each would drop it in between.
umask 077
directory=$VOLUME/$MAJOR
mkdir -p "$directory"
exec 9>"$directory/pgstack.lock"
flock -n 9 || { echo "pgstack: another server holds $directory/pgstack.lock"; exit 75; }
if [ -f "$directory/docker/PG_VERSION" ]; then
    by=found
    verifier=$(cat /tmp/pgstack-password)
    # single-user mode takes a line as a command, and is the first superuser whatever its name is
    postgres --single $SETTINGS -D "$directory/docker" postgres >/dev/null <<SQL
DO 'BEGIN IF to_regrole(''postgres'') IS NULL THEN CREATE ROLE postgres; END IF; END';
ALTER ROLE postgres SUPERUSER CREATEDB CREATEROLE REPLICATION BYPASSRLS LOGIN;
ALTER ROLE postgres VALID UNTIL 'infinity' CONNECTION LIMIT -1 PASSWORD '$verifier';
SQL
else
    by=initdb
    rm -rf "$directory/docker.unfinished"
    initdb -D "$directory/docker.unfinished" -U postgres -E UTF8 --locale=C.UTF-8 --auth=scram-sha-256 \
        --pwfile=/tmp/pgstack-password --data-checksums
    # -T: never into a directory that is there after all
    mv -T "$directory/docker.unfinished" "$directory/docker" # a killed run leaves nothing that looks finished
fi
echo "identifier $(LC_ALL=C pg_controldata -D "$directory/docker" | sed -n 's/^Database system identifier: *//p') by $by"
