"""What adoption_look.sh printed for real volumes, and what it means."""

from __future__ import annotations

from pgvector_stacks.docker.adoption import LegacyDirectory, LegacyVolume

FACTS = [
    (
        "image-uid 999\nvolume-uid 999\nplace .\nmajor 15\nstate in production\n",
        LegacyVolume(999, 999, places=(LegacyDirectory(".", 15, "in production"),)),
    ),
    (
        "image-uid 999\nvolume-uid 999\njournal 15\nin-the-way 15/docker\nplace .\nmajor 15\nstate \n",
        LegacyVolume(999, 999, places=(LegacyDirectory(".", 15, ""),), obstacles=("15/docker",), journal="15"),
    ),
    (
        "image-uid 999\nvolume-uid 0\nserved 15\nplace data\nmajor 15\nstate shut down\nstranger 1000 data/base\n"
        "link data/pg_wal -> /wal\nlink data/pg_tblspc/1 -> /t\nsignal standby.signal\n"
        "path postgresql.conf:3:hba_file = '/var/lib/postgresql/data/pg_hba.conf'\n",
        LegacyVolume(
            999,
            0,
            places=(
                LegacyDirectory(
                    "data",
                    15,
                    "shut down",
                    "1000 data/base",
                    ("data/pg_wal -> /wal", "data/pg_tblspc/1 -> /t"),
                    ("standby.signal",),
                    ("postgresql.conf:3:hba_file = '/var/lib/postgresql/data/pg_hba.conf'",),
                ),
            ),
            served_majors=(15,),
        ),
    ),
    ("image-uid 999\nvolume-uid 999\n", LegacyVolume(999, 999)),
]
