-- Removes everything that the other files and the notebook created, those of version 1 of the plugin included.
-- Services, pools, integrations, users and roles are gone permanently. The database can be restored with UNDROP DATABASE
-- within its Time Travel. Run it as a user with the ACCOUNTADMIN role, until no statement fails.
-- If the statement USE WAREHOUSE fails, everything was removed before.

-- Stops here until you confirm: type YES between the quotes instead of NO.
USE ROLE ACCOUNTADMIN;
USE WAREHOUSE DATAIKU_SPCS_WAREHOUSE;
EXECUTE IMMEDIATE $$
DECLARE
  not_confirmed EXCEPTION (-20002, 'Nothing was removed. Type YES in teardown.sql, then run it again.');
BEGIN
  IF ('NO' <> 'YES') THEN
    RAISE not_confirmed;
  END IF;
END;
$$;

-- If you set the network policy on people (docs/deployment.md), unset it first; a policy in use cannot be dropped.
-- ALTER USER <name> UNSET NETWORK_POLICY;

-- All services and jobs on the two pools, whatever their names. Services of other schemas are dropped too.
ALTER COMPUTE POOL IF EXISTS DATAIKU_GPU_NV_S_MODEL_COMPUTE_POOL STOP ALL;
ALTER COMPUTE POOL IF EXISTS DATAIKU_CPU_X64_XS_EMBED_COMPUTE_POOL STOP ALL;
DROP COMPUTE POOL IF EXISTS DATAIKU_GPU_NV_S_MODEL_COMPUTE_POOL;
DROP COMPUTE POOL IF EXISTS DATAIKU_CPU_X64_XS_EMBED_COMPUTE_POOL;

-- Sign-in before the policy that it uses, the policy before its rule in the database.
DROP USER IF EXISTS DATAIKU_SPCS_USER;
DROP INTEGRATION IF EXISTS DATAIKU_SPCS_OAUTH;
DROP INTEGRATION IF EXISTS DATAIKU_SPCS_DEPLOYER_OAUTH;
DROP INTEGRATION IF EXISTS DATAIKU_SPCS_HUGGING_FACE;
DROP NETWORK POLICY IF EXISTS DATAIKU_SPCS_NETWORK_POLICY;

-- Left over from version 1 of the plugin
DROP INTEGRATION IF EXISTS OAUTH_DATAIKU_SPCS;
DROP INTEGRATION IF EXISTS SNOWFLAKE_EGRESS_ACCESS_INTEGRATION;
-- Uncomment this if the account was set up for version 1. DROP DATABASE NETWORK_DB only if it holds nothing else.
-- DROP NETWORK RULE IF EXISTS NETWORK_DB.NETWORK_SCHEMA.SNOWFLAKE_EGRESS_ACCESS;
-- DROP DATABASE IF EXISTS NETWORK_DB;

DROP DATABASE IF EXISTS DATAIKU_SPCS;
DROP ROLE IF EXISTS DATAIKU_SPCS_ROLE;
DROP ROLE IF EXISTS DATAIKU_SPCS_DEPLOYER_ROLE;
DROP WAREHOUSE IF EXISTS DATAIKU_SPCS_WAREHOUSE;
