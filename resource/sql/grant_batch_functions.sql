-- Allows a role, such as the role of a Snowflake connection in DSS, to call the functions of create_batch_functions.sql.
-- Replace <role> everywhere. The role needs no service role: a function calls its service with the rights of its owner.
USE ROLE SYSADMIN;
GRANT USAGE ON DATABASE DATAIKU_SPCS TO ROLE <role>;
GRANT USAGE ON SCHEMA DATAIKU_SPCS.MODEL_REGISTRY TO ROLE <role>;

-- SYSADMIN inherits the deployer's role, which owns the functions.
GRANT USAGE ON FUNCTION DATAIKU_SPCS.MODEL_REGISTRY.LLM_COMPLETE(VARCHAR, VARCHAR, OBJECT) TO ROLE <role>;
GRANT USAGE ON FUNCTION DATAIKU_SPCS.MODEL_REGISTRY.LLM_CHAT(ARRAY, OBJECT) TO ROLE <role>;
GRANT USAGE ON FUNCTION DATAIKU_SPCS.MODEL_REGISTRY.LLM_EMBED(VARCHAR, OBJECT) TO ROLE <role>;
