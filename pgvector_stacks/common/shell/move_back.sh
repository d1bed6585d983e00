# Undoes an adoption that was interrupted: the data lies whole at its old place afterwards, or this fails and says why.
umask 077
take_lock
move_back
