"""Parses recorded definitions of database objects, and describes how two definitions differ. Pure.

`queries/inventory.sql` writes a definition: lines `word: value`, with the line breaks inside a value indented. Older
ledgers have definitions without words. Two of those can only be compared for equality.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

LINE = re.compile(r"\n(?! )")
ITEM = re.compile(r'(?P<grantee>"(?:[^"]|"")*"|[^="]*)=(?P<letters>[a-zA-Z*]*)/(?P<grantor>.*)')
ORDERED = re.compile(r' ?\bORDER BY (?P<arguments>(?:[^"]|"(?:[^"]|"")*")*)$')
PRIVILEGES = {
    "r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE", "D": "TRUNCATE", "x": "REFERENCES", "t": "TRIGGER",
    "m": "MAINTAIN", "X": "EXECUTE", "U": "USAGE", "C": "CREATE", "c": "CONNECT", "T": "TEMPORARY",
}  # fmt: skip
LONGEST = 120
EXPRESSIONS = ("definition", "default", "using", "with check", "query", "partition of", "partition by")
WITHOUT_EXPRESSIONS = ("schema", "table", "sequence", "enum", "extension", "foreign table")


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One privilege of one role. `grantee`: "" is PUBLIC."""

    grantee: str
    privilege: str
    grantable: bool = False


def identity_in_commands(kind: str, identity: str) -> str:
    """Return an identity in the form that ALTER FUNCTION, ALTER COLLATION and GRANT accept: a collation without its
    encoding, an ordered-set aggregate with its arguments in one list.

    >>> identity_in_commands("collation", "s.c for encoding 6")
    's.c'
    >>> identity_in_commands("aggregate", "s.a(real ORDER BY text)")
    's.a(real, text)'
    >>> identity_in_commands("aggregate", "s.a(ORDER BY text)")
    's.a(text)'
    >>> identity_in_commands("aggregate", 's.a(VARIADIC "any" ORDER BY VARIADIC "any")')
    's.a(VARIADIC "any")'
    """
    if kind == "collation":
        return re.sub(r" for encoding \d+$", "", identity)
    if kind != "aggregate" or (found := ORDERED.search(identity)) is None:
        return identity
    direct, ordered = identity[: found.start()], found["arguments"]
    if direct.endswith("("):
        return direct + ordered
    return f"{direct})" if "VARIADIC" in direct else f"{direct}, {ordered}"


def parse(definition: str) -> dict[str, list[str]]:
    """Return the values by their word; lines without a word are under "".

    >>> parse("owner: a\\nright: b=r/a\\nright: c=r/a\\ndefault: 1 +\\n  2")
    {'owner': ['a'], 'right': ['b=r/a', 'c=r/a'], 'default': ['1 +\\n  2']}
    """
    found: dict[str, list[str]] = {}
    for line in LINE.split(definition) if definition else ():
        word, colon, value = line.partition(": ")
        found.setdefault(word if colon else "", []).append(value if colon else line)
    return found


def first_value(definition: str | None, word: str) -> str | None:
    """Return the first value of a word; None if there is none."""
    return next(iter(parse(definition or "").get(word, ())), None)


def parse_acl(values: Sequence[str]) -> set[Right]:
    """Parse the values GRANTEE=LETTERS/GRANTOR of the lines `right: …`.

    >>> sorted(parse_acl(['app=rw*/schema_owner', '"a b"=U/x', '=r/x']))[0]
    Right(grantee='', privilege='SELECT', grantable=False)
    """
    found = set()
    for value in values:
        if item := ITEM.fullmatch(value):
            grantee = _unquoted(item["grantee"])
            for letter, star in re.findall(r"([a-zA-Z])(\*?)", item["letters"]):
                found.add(Right(grantee, PRIVILEGES.get(letter, letter), bool(star)))
    return found


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def describe_changes(recorded: str, live: str, *, before: str = "was") -> list[str]:
    """Describe each difference between two definitions in a phrase; [] if a definition has no words."""
    was, now = parse(recorded), parse(live)
    if "" in was or "" in now:
        return []
    changes: list[str] = []
    for word in dict.fromkeys([*now, *was]):
        if was.get(word) == now.get(word):
            continue
        if word == "right":
            changes += _describe_rights(was, now)
        else:
            changes.append(_describe_change(word, was.get(word, []), now.get(word, []), before))
    if not changes and _attributes(was) != _attributes(now):
        changes.append("its attributes are in another order")
    return changes


def remove_words(definition: str, words: Sequence[str]) -> str:
    """Return the definition without the lines of these words."""
    kept = [line for line in LINE.split(definition) if line.partition(": ")[0] not in words]
    return "\n".join(kept)


def restore_unchanged(recorded: str, before: str, now: str, *, unwritten: bool = False) -> str:
    """Return `now`, but with the recorded lines for each word that differed from them `before` and is unchanged since.

    `unwritten`: nobody wrote its expressions, whose text follows from the names of others.

    >>> restore_unchanged("a: 1\\nb: 1", "a: 2\\nb: 1", "a: 2\\nb: 3")
    'a: 1\\nb: 3'
    >>> restore_unchanged("a: 1", "a: 1\\nb: 2", "a: 1\\nb: 2\\nname of b: c")
    'a: 1'
    >>> was, then = "attribute a: 1\\nattribute b: 2", "attribute b: 2\\nattribute a: 1"
    >>> restore_unchanged(was, then, "attribute b: 2\\nattribute a: 3")
    'attribute a: 3\\nattribute b: 2'
    """
    was, then, here = (_by_word(text) for text in (recorded, before, now))
    if "" in was.keys() | then.keys() | here.keys():
        return now
    words = list(here)
    for word, previous in zip(was, ("", *was), strict=False):
        if word not in here and word not in then:
            words.insert(words.index(previous) + 1 if previous in words else 0, word)
    order = [word for word in _attributes(was) if word in words]
    if order != (stayed := [word for word in _attributes(words) if word in order]) and stayed == [
        word for word in _attributes(then) if word in order
    ]:
        places = iter(order)
        words = [next(places) if word in order else word for word in words]
    still = {
        word
        for word in words
        if then.get(word) != was.get(word)
        and (here.get(word) == then.get(word) or (unwritten and _is_expression(word)))
    }
    kept = {word: (was if word in still else here).get(word, ()) for word in words}
    lines = [line for word in words if kept.get(word.removeprefix("name of "), True) for line in kept[word]]
    rights = sorted(line for line in lines if line.startswith("right: "))
    if not rights:
        return "\n".join(lines)
    at = next(number for number, line in enumerate(lines) if line.startswith("right: "))
    rest = [line for line in lines if not line.startswith("right: ")]
    return "\n".join([*rest[:at], *rights, *rest[at:]])


def has_same_lines(one: str, other: str) -> bool:
    """True if both definitions have words and the same lines, in any order except for a type's attributes.

    >>> has_same_lines("owner: a\\nbase: b", "base: b\\nowner: a")
    True
    >>> has_same_lines("attribute a: int\\nattribute b: int", "attribute b: int\\nattribute a: int")
    False
    """
    same = sorted(LINE.split(one)) == sorted(LINE.split(other)) and "" not in parse(one)
    return same and _attributes(parse(one)) == _attributes(parse(other))


def _attributes(words: Iterable[str]) -> list[str]:
    """Return the attributes of a composite type, in the order that the type has them."""
    return [word for word in words if word.startswith("attribute ")]


def _by_word(definition: str) -> dict[str, list[str]]:
    """Return the lines by their word, and rights by their grantee; lines without a word are under ""."""
    found: dict[str, list[str]] = {}
    for line in LINE.split(definition) if definition else ():
        word, colon, value = line.partition(": ")
        if word == "right" and (item := ITEM.fullmatch(value)):
            word = f"right {item['grantee']}"
        found.setdefault(word if colon else "", []).append(line)
    return found


def differ_only_in_expressions(recorded: str, live: str) -> bool:
    """True if two definitions differ only in expressions, or if one has no words."""
    was, now = parse(recorded), parse(live)
    different = {word for word in was.keys() | now.keys() if was.get(word) != now.get(word)}
    return "" in different or all(_is_expression(word) for word in different)


def _is_expression(word: str) -> bool:
    return word in EXPRESSIONS or word.startswith("constraint ")


def _describe_change(word: str, was: Sequence[str], now: Sequence[str], before: str) -> str:
    if any(value.startswith("md5 ") for value in [*was, *now]):
        return f"its {word} is another"
    return f"{word} is {_shown(now)}, {before} {_shown(was)}"


def _shown(values: Sequence[str]) -> str:
    text = " ".join("; ".join(values).split()) or "none"
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def _describe_rights(was: Mapping[str, list[str]], now: Mapping[str, list[str]]) -> Iterator[str]:
    before, after = parse_acl(was.get("right", [])), parse_acl(now.get("right", []))
    old, new = was.get("owner", [""])[0], now.get("owner", [""])[0]
    if old != new:  # the change of owner explains these rights
        before = {right for right in before if right.grantee != old}
        after = {right for right in after if right.grantee != new}
    is_named = False
    for verb, those in (("lost", before - after), ("gained", after - before)):
        for grantee in sorted({right.grantee for right in those}):
            names = sorted(
                right.privilege + (" with grant option" if right.grantable else "")
                for right in those
                if right.grantee == grantee
            )
            is_named = True
            yield f"{grantee or 'PUBLIC'} {verb} {', '.join(names)}"
    if not is_named and old == new:
        yield "rights were given by another role"
