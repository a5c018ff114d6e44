-- Prepares an account that was set up for version 1 of the plugin (2024) for setup.sql.
-- The services of version 1 keep running, and DSS can keep calling them. See docs/upgrading.md.
-- Order: this file, setup.sql, deploy the new services, change the connection in DSS, then upgrade_cleanup.sql.
-- Run it as a user with the ACCOUNTADMIN role. You can run it again.
USE ROLE ACCOUNTADMIN;

-- The role of version 1 owns the database and keeps using it: give it USAGE before the ownership moves.
GRANT USAGE ON DATABASE DATAIKU_SPCS TO ROLE DATAIKU_SPCS_ROLE;
GRANT USAGE ON SCHEMA DATAIKU_SPCS.MODEL_REGISTRY TO ROLE DATAIKU_SPCS_ROLE;

-- setup.sql manages these objects as USERADMIN and SYSADMIN.
GRANT OWNERSHIP ON ROLE DATAIKU_SPCS_ROLE TO ROLE USERADMIN COPY CURRENT GRANTS;
GRANT OWNERSHIP ON DATABASE DATAIKU_SPCS TO ROLE SYSADMIN COPY CURRENT GRANTS;
GRANT OWNERSHIP ON SCHEMA DATAIKU_SPCS.MODEL_REGISTRY TO ROLE SYSADMIN COPY CURRENT GRANTS;
GRANT OWNERSHIP ON WAREHOUSE DATAIKU_SPCS_WAREHOUSE TO ROLE SYSADMIN COPY CURRENT GRANTS;

-- What version 1 left in the schema: services, models and the tables of its registry.
-- Write down the names of the services; upgrade_cleanup.sql needs them.
SHOW SERVICES IN SCHEMA DATAIKU_SPCS.MODEL_REGISTRY;
SHOW MODELS IN SCHEMA DATAIKU_SPCS.MODEL_REGISTRY;
SHOW OBJECTS IN SCHEMA DATAIKU_SPCS.MODEL_REGISTRY;
