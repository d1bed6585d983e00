# What an image offers, without starting a server: "default NAME VERSION" for each extension, "script FILE" for each of
# their scripts. Code 3: this isn't found out.
# Runs in a throw-away container, as the image's postgres user. Called by docker/extension_check.py. Why shell: where
# the files are, initdb alone knows.
share=$(initdb --show -D /nonexistent 2>&1 | sed -n 's/^ *share_path=//p')
[ -n "$share" ] && cd "$share/extension" || exit 3
for control in *.control; do
    version=$(sed -n "s/^ *default_version *= *'\([^']*\)'.*/\1/p" "$control")
    [ -z "$version" ] || echo "default ${control%.control} $version"
    ! grep -q '^ *directory *=' "$control" || echo "elsewhere ${control%.control}"
done
ls | sed -n '/--.*\.sql$/s/^/script /p'
