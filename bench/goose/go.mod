// goose, a peer of `make bench`: only the command is built, with PostgreSQL's driver alone.
module bench/goose

go 1.26.0

require github.com/pressly/goose/v3 v3.29.0
