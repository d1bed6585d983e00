-- Takes away the roles that as_owner.sql made.
DO $$
DECLARE
    role text;
BEGIN
    FOR role IN SELECT rolname FROM pg_roles WHERE rolname ~ format('^pgstack_asking_%s_[0-9]+$', pg_backend_pid()) LOOP
        EXECUTE format('DROP OWNED BY %I', role);
        EXECUTE format('DROP ROLE %I', role);
    END LOOP;
END $$;
