# Undoes an adoption that was interrupted: the data lies whole at its old place afterwards, or this fails and says why.
# Runs behind journal.sh in a throw-away container, as the image's postgres user. Called by docker/adoption.py. Why
# shell: as adopt.sh.
umask 077
take_lock
move_back
