#!/bin/sh
# mmdebstrap's hook, $1 the new root, where a compiler is installed: pgvector from Debian's source package, which apt has
# verified, for the server MAJOR that is there. The compiler is purged again. The headers are installed without what they
# depend on: it is clang and LLVM's headers, half a gigabyte for bitcode that no test needs.
#
# apt with mmdebstrap's configuration reads the new root's lists but runs the host's dpkg on the host: it may download
# here and nothing else. What installs or removes runs in the new root.
set -eu
root=$1
tools="gcc libc6-dev make" # COMPILER in build.py
headers="postgresql-server-dev-$MAJOR libpq-dev"

download() {
    APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get --quiet -o APT::Sandbox::User=root "$@"
}

mkdir "$root/tmp/pgvector"
cd "$root/tmp/pgvector"
download download $headers
download source --download-only pgvector
tar xf pgvector_*.orig.tar.gz --strip-components=1
chroot "$root" sh -c 'dpkg --force-depends --install /tmp/pgvector/*.deb'
# no -march=native: as the published images
chroot "$root" make -C /tmp/pgvector --silent -j2 OPTFLAGS= with_llvm=no \
    PG_CONFIG="/usr/lib/postgresql/$MAJOR/bin/pg_config" all install
chroot "$root" dpkg --force-depends --purge $headers
chroot "$root" apt-get --quiet --yes --auto-remove purge $tools
cd /
rm -rf "$root/tmp/pgvector"
