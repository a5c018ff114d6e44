-- A place for your own container images and their specifications: vLLM and a CPU embedding server with OpenAI's API,
-- instead of the services of the model registry. Run it after setup.sql, then push the two images and upload the two
-- files of resource/service_specs (docs/deployment.md has the commands), then run create_openai_services.sql. For functions
-- that SQL calls, see docs/batch-gateway.md.
USE ROLE SYSADMIN;
GRANT CREATE IMAGE REPOSITORY, CREATE FUNCTION ON SCHEMA DATAIKU_SPCS.MODEL_REGISTRY TO ROLE DATAIKU_SPCS_DEPLOYER_ROLE;

USE ROLE DATAIKU_SPCS_DEPLOYER_ROLE;
USE SCHEMA DATAIKU_SPCS.MODEL_REGISTRY;
CREATE IMAGE REPOSITORY IF NOT EXISTS IMAGES;
CREATE STAGE IF NOT EXISTS SPECIFICATIONS;

-- The column repository_url is the address to push the images to.
SHOW IMAGE REPOSITORIES LIKE 'IMAGES' IN SCHEMA DATAIKU_SPCS.MODEL_REGISTRY;
