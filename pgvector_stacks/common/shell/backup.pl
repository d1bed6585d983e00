# What of a scheduled backup a shell can't do: the JSON.
# Runs in the schedule's container, by backup_once.sh. Called by backup/daily/sidecar.py. Why Perl: the server's image
# has no Python, and every image of the official lineage has perl with these modules.
#   backup.pl make FOLDER NAME          dumps all databases into FOLDER, with a manifest as pgvector_stacks/backup/manifest.py reads
#   backup.pl doomed DIRECTORY KEEP     prints which backups may go, as pgvector_stacks/backup/retention.py decides
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256_hex sha256_hex);
use Encode qw(encode);
use File::Basename qw(dirname);
use File::Find qw(find);
use JSON::PP;

my $HERE = dirname($0);
my $JSON = JSON::PP->new->utf8;

sub slurp {
    my ($path) = @_;
    open(my $file, '<:raw', $path) or die "$path: $!\n";
    local $/;
    return scalar <$file>;
}

# The rows of a query, through psql: values as JSON has them.
sub rows {
    my ($sql) = @_;
    local $ENV{PGDATABASE} = 'postgres';
    local $ENV{PGAPPNAME} = 'pgstack';
    local $ENV{PGCLIENTENCODING} = 'UTF8';
    local $ENV{PGOPTIONS} = '-c search_path=pg_catalog,pg_temp -c role=none -c local_preload_libraries=';
    my $wrapped = "SELECT coalesce(json_agg(row_to_json(found)), '[]') FROM (\n$sql\n) AS found";
    open(my $psql, '-|:raw', 'psql', '-XAtqw', '-v', 'ON_ERROR_STOP=1', '-c', $wrapped) or die "psql: $!\n";
    my $said = do { local $/; <$psql> };
    close($psql) or die "psql failed\n";
    return $JSON->decode($said);
}

sub run {
    my (@words) = @_;
    system(@words) == 0 or die "$words[0] failed\n";
}

# The rows of each table (name => OID) in a dump: the lines before the mark that ends COPY's data. To ask the server would
# run what a table's owner wrote into its indexes, as the role that reads everything.
sub count_rows {
    my ($folder, $tables) = @_;
    my %file;
    open(my $list, '-|:raw', 'pg_restore', '-l', $folder) or die "pg_restore: $!\n";
    while (my $line = <$list>) {
        $file{$2} = "$folder/$1.dat.gz" if $line =~ /^(\d+); \d+ (\d+) TABLE DATA /;
    }
    close($list) or die "pg_restore failed\n";
    return { map { $_ => lines_of($file{ $tables->{$_} } // die("the dump has no data of $_\n")) } keys %$tables };
}

sub lines_of {
    my ($path) = @_;
    open(my $data, '-|:raw', 'gzip', '-dc', $path) or die "gzip: $!\n";
    my ($count, $ended) = (0, 0);
    while (my $line = <$data>) {
        $ended ||= $line eq "\\.\n";
        $count++ unless $ended;
    }
    close($data) or die "gzip failed\n";
    $ended or die "$path has no end\n";
    return $count;
}

# One database into its folder, counted in the dump's own snapshot; its entry of the manifest.
sub dump_database {
    my ($found, $into) = @_;
    my $bytes = encode('UTF-8', $found->{name});
    print 'database ', $bytes, ', ', int($found->{bytes} / 2**20), " MiB\n";
    (my $folder = $bytes) =~ s/([^A-Za-z0-9_.~-])/sprintf('%%%02X', ord $1)/ge;
    {
        local $ENV{PGDATABASE} = $bytes;
        local $ENV{FOLDER} = "$into/$folder";
        local $ENV{CONTENTS} = "$HERE/contents.sql";
        run('sh', '-e', "$HERE/dump.sh");
    }
    my ($before, $after) = map {
        my $path = "$into/$folder.$_";
        my $held = $JSON->decode(slurp($path));
        unlink($path) or die "$path: $!\n";
        $held->{rows} = count_rows("$into/$folder", delete $held->{tables}) if exists $held->{tables};
        # counted as text
        for my $numbers ($held->{rows}, $held->{sequences}) {
            $_ = /^-?\d{1,15}$/ ? 0 + $_ : $_ for values %$numbers;
        }
        $held;
    } qw(before after);
    my %entry = (%$found, folder => $folder, contents => $before, sequencesAfter => $after->{sequences});
    $entry{connectionLimit} = delete $entry{connection_limit};
    return \%entry;
}

sub schema_revision {
    my ($ledger) = @_;
    return 'empty' unless $ledger && @$ledger;
    return substr(sha256_hex(join('', map { encode('UTF-8', "$_->[0] $_->[1]\n") } @$ledger)), 0, 12);
}

sub files_of {
    my ($folder) = @_;
    my %found;
    find({ no_chdir => 1, wanted => sub {
        return unless -f $_;
        $found{substr($_, length($folder) + 1)} = { bytes => -s $_, sha256 => Digest::SHA->new(256)->addfile($_, 'b')->hexdigest };
    } }, $folder);
    return \%found;
}

# Sorted, ASCII, no blanks: what manifest.py has its digest of.
sub canonical {
    my ($held) = @_;
    return JSON::PP->new->canonical->ascii->encode($held) =~ s/\x7f/\\u007f/gr; # some versions leave it as it is
}

# With the key of the stack's state, which `up` put beside the password.
sub signature {
    my ($text) = @_;
    my $key = slurp(dirname($HERE) . '/backup-key');
    die "the key that signs backups is empty\n" if $key eq '';
    return hmac_sha256_hex($text, $key);
}

sub make {
    my ($into, $name) = @_;
    my $begun = time;
    my ($about) = @{ rows(
        "SELECT split_part(current_setting('server_version'), ' ', 1) AS version,"
        . " current_setting('server_version_num')::int / 10000 AS major,"
        . " current_setting('shared_preload_libraries') AS preload"
    ) };
    my $cluster = rows(slurp("$HERE/cluster.sql"));
    my @all = @{ rows('SELECT datname AS name FROM pg_database') };
    die "the database $ENV{DATABASE} is a template, or takes no connections: the backup would be without it\n"
        if (grep { $_->{name} eq $ENV{DATABASE} } @all) && !grep { $_->{name} eq $ENV{DATABASE} } @$cluster;
    run('pg_dumpall', '-w', '--globals-only', '--no-tablespaces', '-f', "$into/globals.sql");
    my @databases = map { dump_database($_, $into) } @$cluster;
    my ($own) = grep { $_->{name} eq $ENV{DATABASE} } @databases;
    my $manifest = {
        format => 2, stack => $ENV{STACK}, database => $ENV{DATABASE},
        startedAt => $name =~ s/^(....)(..)(..)T(..)(..)(..)Z$/$1-$2-$3T$4:$5:$6Z/r,
        seconds => time - $begun, serverVersion => $about->{version}, major => $about->{major},
        preload => $about->{preload}, schemaRevision => schema_revision($own && $own->{contents}{ledger}),
        databases => \@databases, files => files_of($into),
    };
    my $text = canonical($manifest);
    my %proof = (digest => sha256_hex($text), signature => signature($text));
    open(my $file, '>:raw', "$into/manifest.json") or die "manifest.json: $!\n";
    print $file JSON::PP->new->canonical->ascii->indent->indent_length(1)->space_after->encode({ %$manifest, %proof });
    close($file) or die "manifest.json: $!\n";
}

# The newest KEEP stay; the newest whose drill was good; where none was, the newest that no drill found bad.
sub doomed {
    my ($directory, $keep) = @_;
    opendir(my $entries, $directory) or die "$directory: $!\n";
    my @names = sort grep { /^\d{8}T\d{6}Z$/ && -d "$directory/$_" } readdir($entries);
    my %verdict;
    for my $name (@names) {
        my $drill = eval { $JSON->decode(slurp("$directory/$name.drill.json")) };
        $verdict{$name} = !$drill ? 'none' : $drill->{ok} ? 'good' : 'bad';
    }
    my %stays = map { $_ => 1 } @names > $keep ? @names[-$keep .. -1] : @names;
    for my $wanted (qw(good none)) {
        my ($newest) = grep { $verdict{$_} eq $wanted } reverse @names;
        if ($newest) {
            $stays{$newest} = 1;
            last;
        }
    }
    print "$_\n" for grep { !$stays{$_} } @names;
}

my %COMMANDS = (make => \&make, doomed => \&doomed);
unless (caller) {
    $| = 1;
    my $command = shift @ARGV;
    $COMMANDS{$command}->(@ARGV);
}
1;
