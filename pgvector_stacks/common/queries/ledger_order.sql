-- Each script at the place it is listed at: a repeatable one may move.
UPDATE pgstack.ledger l SET position = listed.position
  FROM unnest(%(names)s::text[]) WITH ORDINALITY AS listed(name, position)
 WHERE l.name = listed.name AND l.position <> listed.position
