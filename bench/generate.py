"""Writes scripts like those of a growing application: a table, an index, a few rows, an ALTER or a COMMENT each.

The same seed and number always give the same text, whatever else is generated.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

SEED = 20260101
GOOSE_UP = "-- +goose Up\n"

NOUNS = (
    "account", "address", "asset", "batch", "booking", "campaign", "carrier", "category", "channel", "claim",
    "comment", "contact", "contract", "coupon", "course", "customer", "delivery", "device", "discount", "dispute",
    "employee", "event", "expense", "feature", "feedback", "form", "invoice", "job", "label", "lead", "lesson",
    "location", "meeting", "member", "message", "note", "order", "package", "partner", "payment", "permission",
    "plan", "product", "project", "quote", "refund", "report", "review", "rule", "segment", "session", "shipment",
    "subscription", "supplier", "survey", "task", "team", "ticket", "visit", "warehouse",
)  # fmt: skip
COLUMNS = (
    "title text NOT NULL DEFAULT ''",
    "description text",
    "amount numeric(12, 2) NOT NULL DEFAULT 0 CHECK (amount >= 0)",
    "quantity integer NOT NULL DEFAULT 1",
    "currency char(3) NOT NULL DEFAULT 'EUR'",
    "metadata jsonb NOT NULL DEFAULT '{}'",
    "is_active boolean NOT NULL DEFAULT true",
    "due_on date",
    "updated_at timestamptz",
    "external_id uuid",
    "tags text[] NOT NULL DEFAULT '{}'",
    "score double precision",
)
STATES = ("draft", "open", "waiting", "approved", "closed")
WORDS = ("north", "harbour", "O''Brien", "second floor", "Grüße", "café", "urgent; call back", "no remarks", "v2", "—")


@dataclass(frozen=True, slots=True)
class Scripts:
    """`count` scripts on disk. `plain` and `goose`: directories with a file each; `together`: all in one file."""

    count: int
    plain: Path
    goose: Path
    together: Path


def file_name(number: int) -> str:
    """`00001_create_invoice.sql`: sorted by number, and a version to goose."""
    return f"{number:05}_create_{_noun(number)}.sql"


def script(number: int) -> str:
    """The text of script `number`, from 1."""
    draw = random.Random(f"{SEED}/{number}")
    noun = _noun(number)
    table = f"{noun}_{number:05}"
    columns = draw.sample(COLUMNS, draw.randint(2, 5))
    parts = [
        f"-- {table}: what the {noun} module keeps since change {number}\n",
        f"CREATE TABLE {table} (\n"
        f"    {noun}_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,\n"
        "    name text NOT NULL,\n"
        "    status text NOT NULL DEFAULT 'draft',\n"
        + "".join(f"    {column},\n" for column in columns)
        + "    created_at timestamptz NOT NULL DEFAULT now()\n);\n",
        f"CREATE INDEX {table}_status ON {table} (status, created_at);\n\n",
    ]
    for row in range(draw.randint(3, 7)):
        name = f"{draw.choice(WORDS)} {draw.randint(1, 9999)}/{row}"
        parts.append(f"INSERT INTO {table} (name, status) VALUES ('{name}', '{draw.choice(STATES)}');\n")
    parts.append(
        f"\nALTER TABLE {table} ADD COLUMN archived_at timestamptz;\n"
        if draw.random() < 0.5
        else f"\nCOMMENT ON TABLE {table} IS 'One row a {noun}; see change {number}.';\n"
    )
    return "".join(parts)


def _noun(number: int) -> str:
    return NOUNS[random.Random(f"{SEED}/noun/{number}").randrange(len(NOUNS))]


def write(directory: Path, count: int, *, header: str = "") -> None:
    """Write scripts 1 to `count` into a new directory, each after `header`."""
    directory.mkdir(parents=True)
    for number in range(1, count + 1):
        (directory / file_name(number)).write_text(header + script(number))


def write_all(root: Path, count: int) -> Scripts:
    """The same SQL for each contender: one file a script, the same with goose's header, and all in one file."""
    found = Scripts(count, root / "scripts", root / "goose", root / "all.sql")
    write(found.plain, count)
    write(found.goose, count, header=GOOSE_UP)
    found.together.write_text("".join(script(number) for number in range(1, count + 1)))
    return found
