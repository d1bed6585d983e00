-- Every setting as the session has it. No operator and no function of another schema: it runs without a search_path of ours.
SELECT name, setting, reset_val, unit, vartype, context, source
  FROM pg_catalog.pg_settings
