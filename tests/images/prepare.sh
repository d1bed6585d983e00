#!/bin/sh
# mmdebstrap's hook, $1 the new root: what the official image has before and after the packages are installed.
# MAJOR, DATA (the image's PGDATA) and VERSION_FILE (where the server's version is noted) come from build.py.
set -eu
root=$1

case $MMDEBSTRAP_HOOK in
essential)
    # 999 is the official image's number; postgresql-common would take the next free one
    echo 'postgres:x:999:' >>"$root/etc/group"
    echo 'postgres:x:999:999::/var/lib/postgresql:/bin/bash' >>"$root/etc/passwd"
    [ ! -e "$root/etc/shadow" ] || echo 'postgres:!:::::::' >>"$root/etc/shadow"
    mkdir -p "$root/etc/postgresql-common"
    echo 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"
    ;;
customize)
    echo 'en_US.UTF-8 UTF-8' >>"$root/etc/locale.gen"
    chroot "$root" locale-gen >/dev/null

    # one sample for the image, linked from where initdb looks: a copy of /usr/share/postgresql/MAJOR lacks the target
    sample=/usr/share/postgresql/postgresql.conf.sample
    chroot "$root" dpkg-divert --quiet --add --rename --divert "$sample.dpkg" \
        "/usr/share/postgresql/$MAJOR/postgresql.conf.sample"
    sed -E "s/^#?(listen_addresses) *=.*/\1 = '*'/" "$root$sample.dpkg" >"$root$sample"
    grep -q "^listen_addresses = '\*'" "$root$sample"
    ln -s ../postgresql.conf.sample "$root/usr/share/postgresql/$MAJOR/"

    rm -rf "$root"/run/* "$root"/var/lib/postgresql/*
    mkdir "$root/run/lock" "$root/docker-entrypoint-initdb.d"
    chroot "$root" install -d -o postgres -g postgres -m 1777 /var/lib/postgresql
    [ "$MAJOR" -ge 18 ] || chroot "$root" install -d -o postgres -g postgres -m 1777 "$DATA"
    chroot "$root" install -d -o postgres -g postgres -m 3777 /run/postgresql
    install -m 755 "$(dirname "$0")/docker-entrypoint.sh" "$root/usr/local/bin/docker-entrypoint.sh"

    chroot "$root" dpkg-query -W -f '${Version}' "postgresql-$MAJOR" >"$VERSION_FILE"
    # the mirror and the way to it are this machine's
    rm -f "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* "$root"/etc/apt/apt.conf.d/99mmdebstrap
    ;;
esac
