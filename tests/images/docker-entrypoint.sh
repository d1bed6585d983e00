#!/usr/bin/env bash
# What the entrypoint of the official PostgreSQL image does, as far as this project can tell the difference: as root it
# hands the directories to postgres and steps down; an empty PGDATA gets initdb, a server that listens on the socket
# only, POSTGRES_DB and the scripts of /docker-entrypoint-initdb.d; then the command runs as process 1.
# A script that fails ends the container and leaves PGDATA: the next start finds a database and skips all of this.
set -Eeo pipefail

# exports $1, read from the file that $1_FILE names where that is set, else the fallback $2
setting() {
    local name=$1 file=$1_FILE value=${!1:-${2:-}}
    if [[ -n ${!name:-} && -n ${!file:-} ]]; then
        echo "error: both $name and $file are set (but are exclusive)" >&2
        exit 1
    fi
    if [[ -n ${!file:-} ]]; then value=$(<"${!file}"); fi
    export "$name=$value"
    unset "$file"
}

# directories exist and, where root is who asks, belong to postgres; an unprivileged user may lack the right to chmod
own_directories() {
    local directory
    mkdir -p "$PGDATA"
    chmod 0700 "$PGDATA" || true
    mkdir -p /var/run/postgresql || true
    chmod 03775 /var/run/postgresql || true
    if [[ -n ${POSTGRES_INITDB_WALDIR:-} ]]; then
        mkdir -p "$POSTGRES_INITDB_WALDIR"
        chmod 0700 "$POSTGRES_INITDB_WALDIR"
    fi
    [[ $(id -u) == 0 ]] || return 0
    for directory in "$PGDATA" /var/run/postgresql ${POSTGRES_INITDB_WALDIR:+"$POSTGRES_INITDB_WALDIR"}; do
        find "$directory" ! -user postgres -exec chown postgres {} +
    done
}

refuse_without_password() {
    [[ -z $POSTGRES_PASSWORD && ${POSTGRES_HOST_AUTH_METHOD:-} != trust ]] || return 0
    cat >&2 <<'END'
Error: Database is uninitialized and superuser password is not specified.
       You must specify POSTGRES_PASSWORD to a non-empty value for the
       superuser. For example, "-e POSTGRES_PASSWORD=password" on "docker run".

       You may also use "POSTGRES_HOST_AUTH_METHOD=trust" to allow all
       connections without a password. This is *not* recommended.

       See PostgreSQL documentation about "trust":
       https://www.postgresql.org/docs/current/auth-trust.html
END
    exit 1
}

# Only with the PGDATA of images from 18 on: data where older images kept it, or of another major, would be passed over
# for a new empty cluster. From 18 on even a mere mount at the old place is refused.
refuse_old_data() {
    local directory found=()
    [[ $PGDATA == "/var/lib/postgresql/$PG_MAJOR/docker" ]] || return 0
    for directory in /var/lib/postgresql /var/lib/postgresql/data /var/lib/postgresql/*/docker; do
        if [[ -s $directory/PG_VERSION ]]; then found+=("$directory"); fi
    done
    if ((${#found[@]} == 0 && PG_MAJOR >= 18)) && mountpoint -q /var/lib/postgresql/data; then
        found=('/var/lib/postgresql/data (unused mount/volume)')
    fi
    ((${#found[@]} > 0)) || return 0
    cat >&2 <<END
Error: in 18+, these Docker images are configured to store database data in a
       format which is compatible with "pg_ctlcluster" (specifically, using
       major-version-specific directory names).

       Counter to that, there appears to be PostgreSQL data in:
         ${found[*]}

       The suggested container configuration for 18+ is to place a single mount
       at /var/lib/postgresql which will then place PostgreSQL data in a
       subdirectory, allowing usage of "pg_upgrade --link" without mount point
       boundary issues.
END
    exit 1
}

# initdb looks its user up by number: a number that /etc/passwd lacks is lent a name
make_cluster() {
    local arguments=() passwd='' group='' wrapper
    if ! getent passwd "$(id -u)" >/dev/null; then
        for wrapper in /usr/lib/*/libnss_wrapper.so; do
            passwd=$(mktemp) group=$(mktemp)
            echo "postgres:x:$(id -u):$(id -g):PostgreSQL:$PGDATA:/bin/false" >"$passwd"
            echo "postgres:x:$(id -g):" >"$group"
            export LD_PRELOAD=$wrapper NSS_WRAPPER_PASSWD=$passwd NSS_WRAPPER_GROUP=$group
        done
    fi
    eval "arguments=($POSTGRES_INITDB_ARGS)"
    if [[ -n ${POSTGRES_INITDB_WALDIR:-} ]]; then arguments+=(--waldir "$POSTGRES_INITDB_WALDIR"); fi
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "${arguments[@]}"
    if [[ -n $passwd ]]; then
        rm -f "$passwd" "$group"
        unset LD_PRELOAD NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP
    fi
    printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-$(postgres -C password_encryption "$@")}" \
        >>"$PGDATA/pg_hba.conf"
}

# the name that scripts sourced from /docker-entrypoint-initdb.d know
docker_process_sql() {
    PGHOST='' PGHOSTADDR='' psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --no-password --no-psqlrc \
        ${POSTGRES_DB:+--dbname "$POSTGRES_DB"} "$@"
}

run_scripts() {
    local script
    for script in /docker-entrypoint-initdb.d/*; do
        case $script in
            *.sh)
                if [[ -x $script ]]; then
                    echo "$0: running $script"
                    "$script"
                else
                    echo "$0: sourcing $script"
                    . "$script"
                fi
                ;;
            *.sql) echo "$0: running $script" && docker_process_sql -f "$script" ;;
            *.sql.gz) echo "$0: running $script" && gunzip -c "$script" | docker_process_sql ;;
            *.sql.xz) echo "$0: running $script" && xz -dc "$script" | docker_process_sql ;;
            *.sql.zst) echo "$0: running $script" && zstd -dc "$script" | docker_process_sql ;;
            *) echo "$0: ignoring $script" ;;
        esac
        echo
    done
}

# "$@" are the server's arguments: the temporary server runs with the settings of the real one
first_start() {
    refuse_without_password
    refuse_old_data
    ls /docker-entrypoint-initdb.d/ >/dev/null # unreadable: fail before there is a cluster
    make_cluster "$@"
    export PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD}
    NOTIFY_SOCKET='' PGUSER=${PGUSER:-$POSTGRES_USER} pg_ctl -D "$PGDATA" -w start \
        -o "$(printf '%q ' "$@" -c listen_addresses= -p "${PGPORT:-5432}")"
    if [[ -z $(POSTGRES_DB=postgres docker_process_sql --set db="$POSTGRES_DB" --tuples-only \
        <<<"SELECT 1 FROM pg_database WHERE datname = :'db'") ]]; then
        POSTGRES_DB=postgres docker_process_sql --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db"'
    fi
    run_scripts
    PGUSER=${PGUSER:-postgres} pg_ctl -D "$PGDATA" -m fast -w stop
    unset PGPASSWORD
    printf '\nPostgreSQL init process complete; ready for start up.\n\n'
}

if [[ ${1:-} == -* ]]; then set -- postgres "$@"; fi

only_asks=no
for argument; do
    case $argument in '-?' | --help | --describe-config | -V | --version) only_asks=yes ;; esac
done

if [[ ${1:-} == postgres && $only_asks == no ]]; then
    own_directories
    if [[ $(id -u) == 0 ]]; then exec gosu postgres "$BASH_SOURCE" "$@"; fi
    setting POSTGRES_PASSWORD
    setting POSTGRES_USER postgres
    setting POSTGRES_DB "$POSTGRES_USER"
    setting POSTGRES_INITDB_ARGS
    if [[ -s $PGDATA/PG_VERSION ]]; then
        printf '\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n'
    else
        first_start "${@:2}"
    fi
fi

exec "$@"
