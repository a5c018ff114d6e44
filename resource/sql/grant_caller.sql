-- Allows a role to call model services from outside Snowflake. The notebook already does this for its CALLER_ROLE.
-- Replace <role> everywhere, and the names of the services by yours. If one of these privileges is missing, a call
-- fails with HTTP 404 or 403.
USE ROLE SYSADMIN;
GRANT USAGE ON DATABASE DATAIKU_SPCS TO ROLE <role>;
GRANT USAGE ON SCHEMA DATAIKU_SPCS.MODEL_REGISTRY TO ROLE <role>;

-- Only the owner of a service can grant its service roles; SYSADMIN inherits the deployer's role, which owns these.
-- Services of create_openai_services.sql have the service role CALLER.
GRANT SERVICE ROLE DATAIKU_SPCS.MODEL_REGISTRY.QWEN3_4B_SERVICE!ALL_ENDPOINTS_USAGE TO ROLE <role>;
GRANT SERVICE ROLE DATAIKU_SPCS.MODEL_REGISTRY.GRANITE_EMBEDDING_SERVICE!ALL_ENDPOINTS_USAGE TO ROLE <role>;
SHOW GRANTS OF SERVICE ROLE DATAIKU_SPCS.MODEL_REGISTRY.QWEN3_4B_SERVICE!ALL_ENDPOINTS_USAGE;

-- To let the role sign in with OAuth, too, list it beside the first one. People whose role is not in this list see
-- error 390308 on Snowflake's sign-in page.
-- USE ROLE ACCOUNTADMIN;
-- ALTER SECURITY INTEGRATION DATAIKU_SPCS_OAUTH SET ALLOWED_ROLES_LIST = ('DATAIKU_SPCS_ROLE', '<role>');
