# The journal of an adoption, and the way back. $VOLUME, $MAJOR: see adopt.sh.
# Runs in front of adopt.sh and move_back.sh, in their container. Called by docker/adoption.py. Why shell: as adopt.sh.
# Its first line is the old place relative to the volume, each further line an entry that moves, in the order of moving.
new=$VOLUME/$MAJOR/docker
journal=$VOLUME/$MAJOR/adopting

say() { echo "pgstack: $*"; }

is_there() { [ -e "$1" ] || [ -L "$1" ]; }

# One entry to its other place; never over something that is there.
move() {
    if is_there "$2/$3"; then
        say "$3 is at both places, $1 and $2"
        return 1
    fi
    mv -T "$1/$3" "$2/$3"
}

# Puts back what an interrupted move has moved, the last entry first, and forgets the journal. Nothing without one.
move_back() {
    if [ ! -f "$journal" ]; then return 0; fi
    old=$VOLUME/$(head -n 1 "$journal")
    mkdir -p "$new"
    sed 1d "$journal" | tac | while IFS= read -r entry; do
        if is_there "$new/$entry"; then
            move "$new" "$old" "$entry" || exit 1
        elif ! is_there "$old/$entry"; then
            say "$entry is at neither place, $old and $new"
            exit 1
        fi
    done || return 1
    rmdir "$new" && sync "$old" "$VOLUME/$MAJOR" && rm "$journal" && sync "$VOLUME/$MAJOR"
}

take_lock() {
    mkdir -p "$VOLUME/$MAJOR"
    exec 9>"$VOLUME/$MAJOR/pgstack.lock"
    flock -n 9 || { say "another server holds $VOLUME/$MAJOR/pgstack.lock"; exit 75; }
}
