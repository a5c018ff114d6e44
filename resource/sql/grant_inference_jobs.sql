-- Allows a role, such as the role of a Snowflake connection in DSS, to run inference jobs: engine JOB of the recipe
-- "Run a model inside Snowflake". Replace <role> everywhere, and the names of the schema of the recipe's output, the
-- compute pool, the model and the image repository by yours.
USE ROLE SYSADMIN;
GRANT USAGE ON DATABASE DATAIKU_SPCS TO ROLE <role>;
GRANT USAGE, CREATE TABLE, CREATE STAGE, CREATE SERVICE ON SCHEMA DATAIKU_SPCS.MODEL_REGISTRY TO ROLE <role>;

-- SYSADMIN inherits the deployer's role, which owns these.
GRANT USAGE, MONITOR ON COMPUTE POOL DATAIKU_GPU_NV_S_MODEL_COMPUTE_POOL TO ROLE <role>;
GRANT USAGE ON MODEL DATAIKU_SPCS.MODEL_REGISTRY.TINYLLAMA TO ROLE <role>;
GRANT READ ON IMAGE REPOSITORY DATAIKU_SPCS.MODEL_REGISTRY.IMAGES TO ROLE <role>;
