-- Allows a role to find services, to suspend and resume them, and to read what they cost, as the macros of the plugin do.
-- Replace <role> everywhere, and the names of the services by yours. The role cannot call the services: that is
-- grant_caller.sql.
USE ROLE ACCOUNTADMIN;
GRANT USAGE ON DATABASE DATAIKU_SPCS TO ROLE <role>;
GRANT USAGE ON SCHEMA DATAIKU_SPCS.MODEL_REGISTRY TO ROLE <role>;

-- USAGE shows the endpoints, MONITOR the containers and their logs; OPERATE suspends and resumes.
GRANT USAGE, MONITOR, OPERATE ON SERVICE DATAIKU_SPCS.MODEL_REGISTRY.QWEN3_4B_SERVICE TO ROLE <role>;
GRANT USAGE, MONITOR, OPERATE ON SERVICE DATAIKU_SPCS.MODEL_REGISTRY.GRANITE_EMBEDDING_SERVICE TO ROLE <role>;

-- USAGE shows the nodes of a pool, and so what it costs now; MONITOR shows why it does not start.
GRANT USAGE, MONITOR ON COMPUTE POOL DATAIKU_GPU_NV_S_MODEL_COMPUTE_POOL TO ROLE <role>;
GRANT USAGE, MONITOR ON COMPUTE POOL DATAIKU_CPU_X64_XS_EMBED_COMPUTE_POOL TO ROLE <role>;

-- For the cost report: usage views need a warehouse. The second database role shows the price of a credit in your
-- contract, and what the whole organization pays; without it, enter "Cost of a credit" in the macro.
GRANT USAGE ON WAREHOUSE DATAIKU_SPCS_WAREHOUSE TO ROLE <role>;
GRANT DATABASE ROLE SNOWFLAKE.USAGE_VIEWER TO ROLE <role>;
-- GRANT DATABASE ROLE SNOWFLAKE.ORGANIZATION_BILLING_VIEWER TO ROLE <role>;
SHOW GRANTS TO ROLE <role>;
