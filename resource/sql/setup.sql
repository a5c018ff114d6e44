-- Prepares a Snowflake account: the notebook can then deploy models, and DSS can call them.
--
-- Before you run this file:
--   1. Replace <host of DSS> (for example dss.acme.com) and <address of DSS> (the IP address from which DSS calls
--      Snowflake, for example 198.51.100.7/32) everywhere in it. The script stops while a placeholder is left.
--   2. Check the two INSTANCE_FAMILY values in section 3. They suit AWS, except its regions in Singapore, Osaka,
--      Zurich and Paris, which have no GPU_NV_S. Azure: GPU_NV_SM. Google Cloud: GPU_GCP_NV_L4_1_24G. Your region's
--      families: SHOW COMPUTE POOL INSTANCE FAMILIES. The names of the pools can stay. Without any GPU family, delete
--      the statements about the chat pool; embedding models run on a CPU.
--   3. If the account was set up for version 1 of the plugin, run upgrade.sql first.
-- Run it as a user with the ACCOUNTADMIN role, in a paid account: trial accounts cannot create compute pools.
-- You can run it again at any time: what exists is kept, and the settings that this file names are applied.
-- To sign in with a key pair or a programmatic access token instead of OAuth, run setup_service_user.sql afterwards.

-- 1. Roles: one deploys models, the other calls them. Neither owns the database.
USE ROLE USERADMIN;
CREATE ROLE IF NOT EXISTS DATAIKU_SPCS_DEPLOYER_ROLE COMMENT = 'Logs models and runs their services';
CREATE ROLE IF NOT EXISTS DATAIKU_SPCS_ROLE COMMENT = 'Calls the model services from DSS';
GRANT ROLE DATAIKU_SPCS_DEPLOYER_ROLE TO ROLE SYSADMIN;
GRANT ROLE DATAIKU_SPCS_ROLE TO ROLE SYSADMIN;
-- For each person who uses the models:   GRANT ROLE DATAIKU_SPCS_ROLE TO USER <name>;
-- For each person who deploys models:    GRANT ROLE DATAIKU_SPCS_DEPLOYER_ROLE TO USER <name>;

-- 2. Database, schemas, warehouse. The warehouse is used by the notebook, the tasks and the cost queries only.
USE ROLE SYSADMIN;
CREATE DATABASE IF NOT EXISTS DATAIKU_SPCS;
CREATE SCHEMA IF NOT EXISTS DATAIKU_SPCS.MODEL_REGISTRY COMMENT = 'Models and their services';
CREATE SCHEMA IF NOT EXISTS DATAIKU_SPCS.NETWORK COMMENT = 'Network rules; the deployer cannot change them';
CREATE WAREHOUSE IF NOT EXISTS DATAIKU_SPCS_WAREHOUSE WAREHOUSE_SIZE = XSMALL INITIALLY_SUSPENDED = TRUE;
ALTER WAREHOUSE DATAIKU_SPCS_WAREHOUSE SET AUTO_SUSPEND = 60 AUTO_RESUME = TRUE;

-- Stops here while a placeholder is left.
USE WAREHOUSE DATAIKU_SPCS_WAREHOUSE;
EXECUTE IMMEDIATE $$
DECLARE
  placeholder_left EXCEPTION (-20001, 'Replace the two placeholders everywhere in setup.sql, then run it again.');
BEGIN
  IF (CONTAINS('<host of DSS>', '<') OR CONTAINS('<address of DSS>', '<')) THEN
    RAISE placeholder_left;
  END IF;
END;
$$;

GRANT USAGE ON WAREHOUSE DATAIKU_SPCS_WAREHOUSE TO ROLE DATAIKU_SPCS_DEPLOYER_ROLE;
GRANT USAGE ON DATABASE DATAIKU_SPCS TO ROLE DATAIKU_SPCS_DEPLOYER_ROLE;
GRANT USAGE ON SCHEMA DATAIKU_SPCS.MODEL_REGISTRY TO ROLE DATAIKU_SPCS_DEPLOYER_ROLE;
GRANT CREATE MODEL ON SCHEMA DATAIKU_SPCS.MODEL_REGISTRY TO ROLE DATAIKU_SPCS_DEPLOYER_ROLE;
GRANT CREATE SERVICE ON SCHEMA DATAIKU_SPCS.MODEL_REGISTRY TO ROLE DATAIKU_SPCS_DEPLOYER_ROLE;
GRANT CREATE STAGE ON SCHEMA DATAIKU_SPCS.MODEL_REGISTRY TO ROLE DATAIKU_SPCS_DEPLOYER_ROLE;

GRANT USAGE ON DATABASE DATAIKU_SPCS TO ROLE DATAIKU_SPCS_ROLE;
GRANT USAGE ON SCHEMA DATAIKU_SPCS.MODEL_REGISTRY TO ROLE DATAIKU_SPCS_ROLE;

-- 3. Compute pools. They are billed while a service runs on them, plus AUTO_SUSPEND_SECS.
USE ROLE ACCOUNTADMIN;
CREATE COMPUTE POOL IF NOT EXISTS DATAIKU_GPU_NV_S_MODEL_COMPUTE_POOL
  MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = GPU_NV_S INITIALLY_SUSPENDED = TRUE COMMENT = 'Chat models';
CREATE COMPUTE POOL IF NOT EXISTS DATAIKU_CPU_X64_XS_EMBED_COMPUTE_POOL
  MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_XS INITIALLY_SUSPENDED = TRUE COMMENT = 'Embedding models';
ALTER COMPUTE POOL DATAIKU_GPU_NV_S_MODEL_COMPUTE_POOL SET AUTO_SUSPEND_SECS = 300 AUTO_RESUME = TRUE;
ALTER COMPUTE POOL DATAIKU_CPU_X64_XS_EMBED_COMPUTE_POOL SET AUTO_SUSPEND_SECS = 300 AUTO_RESUME = TRUE;
GRANT USAGE, MONITOR ON COMPUTE POOL DATAIKU_GPU_NV_S_MODEL_COMPUTE_POOL TO ROLE DATAIKU_SPCS_DEPLOYER_ROLE;
GRANT USAGE, MONITOR ON COMPUTE POOL DATAIKU_CPU_X64_XS_EMBED_COMPUTE_POOL TO ROLE DATAIKU_SPCS_DEPLOYER_ROLE;
GRANT BIND SERVICE ENDPOINT ON ACCOUNT TO ROLE DATAIKU_SPCS_DEPLOYER_ROLE;

-- 4. Egress to Hugging Face, for your own containers while they download weights (resource/service_specs).
--    Models of the registry do not use it. Hosts as of 2026-08-22, from Hugging Face's documentation: Hub,
--    "Downloading models", section "Downloading behind a proxy or firewall".
CREATE OR ALTER NETWORK RULE DATAIKU_SPCS.NETWORK.HUGGING_FACE
  TYPE = HOST_PORT MODE = EGRESS
  VALUE_LIST = (
    'huggingface.co:443', 'hub-ci.huggingface.co:443',
    'cas-server.xethub.hf.co:443', 'transfer.xethub.hf.co:443', 'cas-bridge.xethub.hf.co:443',
    'cas-server.xethub-eu.hf.co:443', 'transfer.xethub-eu.hf.co:443',
    'us.aws.cdn.hf.co:443', 'us.gcp.cdn.hf.co:443',
    'cdn-lfs.hf.co:443', 'cdn-lfs-us-1.hf.co:443', 'cdn-lfs-eu-1.hf.co:443'
  );
CREATE EXTERNAL ACCESS INTEGRATION IF NOT EXISTS DATAIKU_SPCS_HUGGING_FACE
  ALLOWED_NETWORK_RULES = (DATAIKU_SPCS.NETWORK.HUGGING_FACE) ENABLED = TRUE;
GRANT USAGE ON INTEGRATION DATAIKU_SPCS_HUGGING_FACE TO ROLE DATAIKU_SPCS_DEPLOYER_ROLE;

-- 5. Sign-in with OAuth, from the address of DSS only. Two integrations, so that the one that DSS uses for queries
--    cannot issue a token for the deployer's role.
CREATE OR ALTER NETWORK RULE DATAIKU_SPCS.NETWORK.DSS
  TYPE = IPV4 MODE = INGRESS VALUE_LIST = ('<address of DSS>');
CREATE NETWORK POLICY IF NOT EXISTS DATAIKU_SPCS_NETWORK_POLICY
  ALLOWED_NETWORK_RULE_LIST = ('DATAIKU_SPCS.NETWORK.DSS');

-- For the plugin's preset "OAuth credentials"
CREATE SECURITY INTEGRATION IF NOT EXISTS DATAIKU_SPCS_OAUTH
  TYPE = OAUTH OAUTH_CLIENT = CUSTOM OAUTH_CLIENT_TYPE = 'CONFIDENTIAL'
  OAUTH_REDIRECT_URI = 'https://<host of DSS>/dip/api/oauth2-callback';
ALTER SECURITY INTEGRATION DATAIKU_SPCS_OAUTH SET
  ENABLED = TRUE
  OAUTH_REDIRECT_URI = 'https://<host of DSS>/dip/api/oauth2-callback'
  OAUTH_ISSUE_REFRESH_TOKENS = TRUE OAUTH_REFRESH_TOKEN_VALIDITY = 604800
  OAUTH_USE_SECONDARY_ROLES = NONE ALLOWED_ROLES_LIST = ('DATAIKU_SPCS_ROLE')
  NETWORK_POLICY = 'DATAIKU_SPCS_NETWORK_POLICY';

-- For the Snowflake connection "spcs-access-only" with which the notebook deploys models
CREATE SECURITY INTEGRATION IF NOT EXISTS DATAIKU_SPCS_DEPLOYER_OAUTH
  TYPE = OAUTH OAUTH_CLIENT = CUSTOM OAUTH_CLIENT_TYPE = 'CONFIDENTIAL'
  OAUTH_REDIRECT_URI = 'https://<host of DSS>/dip/api/oauth2-callback';
ALTER SECURITY INTEGRATION DATAIKU_SPCS_DEPLOYER_OAUTH SET
  ENABLED = TRUE
  OAUTH_REDIRECT_URI = 'https://<host of DSS>/dip/api/oauth2-callback'
  OAUTH_ISSUE_REFRESH_TOKENS = TRUE OAUTH_REFRESH_TOKEN_VALIDITY = 604800
  OAUTH_USE_SECONDARY_ROLES = NONE ALLOWED_ROLES_LIST = ('DATAIKU_SPCS_DEPLOYER_ROLE')
  NETWORK_POLICY = 'DATAIKU_SPCS_NETWORK_POLICY';

-- Client id and client secret of the two integrations: treat the output as passwords.
SELECT SYSTEM$SHOW_OAUTH_CLIENT_SECRETS('DATAIKU_SPCS_OAUTH');
SELECT SYSTEM$SHOW_OAUTH_CLIENT_SECRETS('DATAIKU_SPCS_DEPLOYER_OAUTH');
