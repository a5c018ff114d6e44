-- Removes what version 1 of the plugin left: its services, its privileges, its OAuth integration and its open egress.
-- Run it when no DSS calls the services of version 1 any more, as a user with the ACCOUNTADMIN role.
-- Until then, version 1 and version 2 run side by side. After it, going back to version 1 means setting it up again.

-- Stops here until you confirm: type YES between the quotes instead of NO.
USE ROLE ACCOUNTADMIN;
USE WAREHOUSE DATAIKU_SPCS_WAREHOUSE;
EXECUTE IMMEDIATE $$
DECLARE
  not_confirmed EXCEPTION (-20002, 'Nothing was removed. Type YES in upgrade_cleanup.sql, then run it again.');
BEGIN
  IF ('NO' <> 'YES') THEN
    RAISE not_confirmed;
  END IF;
END;
$$;

-- 1. The services of version 1: those whose owner is DATAIKU_SPCS_ROLE in SHOW SERVICES. Repeat the DROP line for each
--    of them, or delete it if there is none. They must go first: while they run, they need the privileges that are
--    revoked below.
SHOW SERVICES IN SCHEMA DATAIKU_SPCS.MODEL_REGISTRY;
DROP SERVICE IF EXISTS DATAIKU_SPCS.MODEL_REGISTRY.<name of the service>;

-- 2. The privileges of version 1. DATAIKU_SPCS_ROLE keeps what setup.sql and the notebook granted: calling services.
REVOKE BIND SERVICE ENDPOINT ON ACCOUNT FROM ROLE DATAIKU_SPCS_ROLE;
REVOKE ALL PRIVILEGES ON COMPUTE POOL DATAIKU_GPU_NV_S_MODEL_COMPUTE_POOL FROM ROLE DATAIKU_SPCS_ROLE;
REVOKE ALL PRIVILEGES ON COMPUTE POOL DATAIKU_CPU_X64_XS_EMBED_COMPUTE_POOL FROM ROLE DATAIKU_SPCS_ROLE;
REVOKE ALL PRIVILEGES ON WAREHOUSE DATAIKU_SPCS_WAREHOUSE FROM ROLE DATAIKU_SPCS_ROLE;

-- 3. Egress to every host, and the OAuth integration without a network policy
DROP INTEGRATION IF EXISTS SNOWFLAKE_EGRESS_ACCESS_INTEGRATION;
DROP INTEGRATION IF EXISTS OAUTH_DATAIKU_SPCS;
DROP NETWORK RULE IF EXISTS NETWORK_DB.NETWORK_SCHEMA.SNOWFLAKE_EGRESS_ACCESS;
-- Version 1 created this database for its network rule. Uncomment the line if it holds nothing else.
SHOW OBJECTS IN DATABASE NETWORK_DB;
-- DROP DATABASE IF EXISTS NETWORK_DB;

-- 4. Models and registry tables of version 1, which DATAIKU_SPCS_ROLE still owns. Uncomment and repeat for each.
SHOW MODELS IN SCHEMA DATAIKU_SPCS.MODEL_REGISTRY;
SHOW OBJECTS IN SCHEMA DATAIKU_SPCS.MODEL_REGISTRY;
-- DROP MODEL IF EXISTS DATAIKU_SPCS.MODEL_REGISTRY.<name of the model>;
-- DROP TABLE IF EXISTS DATAIKU_SPCS.MODEL_REGISTRY.<name of the table>;
SHOW GRANTS TO ROLE DATAIKU_SPCS_ROLE;
