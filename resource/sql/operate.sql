-- Everyday statements for the services of the notebook. "Run all" only shows the state: the statements that change
-- something are comments. Uncomment the one you need. Replace the names of the services by yours.
USE ROLE DATAIKU_SPCS_DEPLOYER_ROLE;
USE SCHEMA DATAIKU_SPCS.MODEL_REGISTRY;

-- State
SHOW SERVICES IN SCHEMA DATAIKU_SPCS.MODEL_REGISTRY;
SHOW SERVICE CONTAINERS IN SERVICE QWEN3_4B_SERVICE;
SHOW ENDPOINTS IN SERVICE QWEN3_4B_SERVICE;
SHOW COMPUTE POOLS;

-- Why a pool does not start: columns error_code and status_message (392507: no capacity, 392508: MAX_NODES reached)
DESCRIBE COMPUTE POOL DATAIKU_GPU_NV_S_MODEL_COMPUTE_POOL;

-- Logs of a container that runs (container names: SHOW SERVICE CONTAINERS; 'model-build' while the image is built)
-- SELECT SYSTEM$GET_SERVICE_LOGS('DATAIKU_SPCS.MODEL_REGISTRY.QWEN3_4B_SERVICE', '0', 'model-inference', 200);
-- Logs of a suspended or crashed service, if the account has an event table
-- SELECT * FROM TABLE(QWEN3_4B_SERVICE!SPCS_GET_LOGS());

-- Stop billing now. The pool suspends itself AUTO_SUSPEND_SECS after its last service has stopped.
-- ALTER SERVICE QWEN3_4B_SERVICE SUSPEND;
-- ALTER SERVICE GRANITE_EMBEDDING_SERVICE SUSPEND;

-- Start again. A query from DSS to a suspended service does the same, and waits for it.
-- ALTER SERVICE QWEN3_4B_SERVICE RESUME;
-- ALTER SERVICE GRANITE_EMBEDDING_SERVICE RESUME;

-- Let Snowflake suspend a service after 30 minutes without requests (0), or keep it always ready (1).
-- ALTER SERVICE QWEN3_4B_SERVICE SET MIN_INSTANCES = 0;

-- More replicas. Not for services with block volumes (CHAT_SERVICE, EMBEDDING_SERVICE): Snowflake cannot change their
-- number of instances. First the pool, then the service.
-- USE ROLE ACCOUNTADMIN;
-- ALTER COMPUTE POOL DATAIKU_GPU_NV_S_MODEL_COMPUTE_POOL SET MAX_NODES = 2;
-- USE ROLE DATAIKU_SPCS_DEPLOYER_ROLE;
-- ALTER SERVICE QWEN3_4B_SERVICE SET MAX_INSTANCES = 2;
