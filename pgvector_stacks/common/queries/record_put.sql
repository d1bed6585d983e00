-- Records definitions of objects; NULL takes the object out of the record.
WITH given AS (
    SELECT * FROM unnest(%(kinds)s::text[], %(identities)s::text[], %(definitions)s::text[]) AS g(kind, identity, definition)
), gone AS (
    DELETE FROM pgstack.object o USING given g
     WHERE (o.kind, o.identity) = (g.kind, g.identity) AND g.definition IS NULL
)
INSERT INTO pgstack.object (kind, identity, definition)
SELECT kind, identity, definition FROM given WHERE definition IS NOT NULL
    ON CONFLICT (kind, identity) DO UPDATE SET definition = excluded.definition
