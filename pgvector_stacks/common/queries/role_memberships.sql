-- The grants by which a role is in another: one may have come from several hands, and each has to be taken back.
SELECT quote_ident(pg_get_userbyid(roleid)), quote_ident(pg_get_userbyid(member)), quote_ident(pg_get_userbyid(grantor))
  FROM pg_auth_members
 WHERE pg_get_userbyid(member) = %(member)s AND pg_get_userbyid(roleid) = ANY(%(roles)s)
 ORDER BY 1, 3
