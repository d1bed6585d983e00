-- The tenant's id, its row locked until the transaction ends: two loads go one after the other.
SELECT tenant_id FROM app.tenant WHERE name = %(tenant)s FOR UPDATE
