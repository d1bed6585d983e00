SELECT name, position, sha256, normalised, applied_at, applied_by, git_commit, baseline
  FROM pgstack.ledger
 ORDER BY position, name
