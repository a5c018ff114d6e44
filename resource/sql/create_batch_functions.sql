-- Lets SQL ask a model for the rows of a table: functions whose batches of rows the batch gateway answers, in the same
-- service as vLLM or a CPU embedding server (docs/batch-gateway.md).
-- Before you run this file: create_image_repository.sql, the three images, the two specifications *_batch.yaml.
-- The pools of setup.sql have one node each. Suspend the services that use them first, or raise MAX_NODES of the pools
-- (operate.sql); otherwise these services wait for a node.
USE ROLE DATAIKU_SPCS_DEPLOYER_ROLE;
USE SCHEMA DATAIKU_SPCS.MODEL_REGISTRY;

SHOW IMAGES IN IMAGE REPOSITORY IMAGES;
LIST @SPECIFICATIONS;

-- The services have no public endpoint, so that AUTO_SUSPEND_SECS applies: they are suspended half an hour after the last
-- call. One instance each: an instance does not know the batches of another (docs/batch-gateway.md).
-- vllm_batch.yaml is a template: 'offline' becomes the container's HF_HUB_OFFLINE, '0' while it downloads its weights.
CREATE SERVICE IF NOT EXISTS CHAT_BATCH_SERVICE
  IN COMPUTE POOL DATAIKU_GPU_NV_S_MODEL_COMPUTE_POOL
  FROM @SPECIFICATIONS SPECIFICATION_TEMPLATE_FILE = 'vllm_batch.yaml' USING (offline => '0')
  AUTO_SUSPEND_SECS = 1800 EXTERNAL_ACCESS_INTEGRATIONS = (DATAIKU_SPCS_HUGGING_FACE)
  MIN_INSTANCES = 1 MAX_INSTANCES = 1;
CREATE SERVICE IF NOT EXISTS EMBEDDING_BATCH_SERVICE
  IN COMPUTE POOL DATAIKU_CPU_X64_XS_EMBED_COMPUTE_POOL
  FROM @SPECIFICATIONS SPECIFICATION_FILE = 'embeddings_batch.yaml'
  AUTO_SUSPEND_SECS = 1800 EXTERNAL_ACCESS_INTEGRATIONS = (DATAIKU_SPCS_HUGGING_FACE)
  MIN_INSTANCES = 1 MAX_INSTANCES = 1;

-- Each returns a VARIANT: {"answer": ..., "error": ..., "totalTokens": ...}. A row that fails has an "error" and fails no
-- other row. MAX_BATCH_ROWS keeps most batches below 20 seconds; the gateway answers slower ones by HTTP 202.
CREATE OR ALTER FUNCTION LLM_COMPLETE(PROMPT VARCHAR, SYSTEM_PROMPT VARCHAR, PARAMETERS OBJECT)
  RETURNS VARIANT
  VOLATILE
  SERVICE = CHAT_BATCH_SERVICE
  ENDPOINT = batch
  MAX_BATCH_ROWS = 64
  MAX_BATCH_RETRIES = 5
  AS '/complete';
CREATE OR ALTER FUNCTION LLM_CHAT(MESSAGES ARRAY, PARAMETERS OBJECT)
  RETURNS VARIANT
  VOLATILE
  SERVICE = CHAT_BATCH_SERVICE
  ENDPOINT = batch
  MAX_BATCH_ROWS = 64
  MAX_BATCH_RETRIES = 5
  AS '/chat';
CREATE OR ALTER FUNCTION LLM_EMBED(INPUT VARCHAR, PARAMETERS OBJECT)
  RETURNS VARIANT
  VOLATILE
  SERVICE = EMBEDDING_BATCH_SERVICE
  ENDPOINT = batch
  MAX_BATCH_ROWS = 256
  MAX_BATCH_RETRIES = 5
  AS '/embed';

-- Repeat these until all containers are READY. The first start downloads the weights.
SHOW SERVICE CONTAINERS IN SERVICE CHAT_BATCH_SERVICE;
SHOW SERVICE CONTAINERS IN SERVICE EMBEDDING_BATCH_SERVICE;

-- When both are READY, close their egress: a suspended service keeps its weights.
-- ALTER SERVICE CHAT_BATCH_SERVICE FROM @SPECIFICATIONS SPECIFICATION_TEMPLATE_FILE = 'vllm_batch.yaml' USING (offline => '1');
-- ALTER SERVICE CHAT_BATCH_SERVICE UNSET EXTERNAL_ACCESS_INTEGRATIONS;
-- ALTER SERVICE EMBEDDING_BATCH_SERVICE UNSET EXTERNAL_ACCESS_INTEGRATIONS;

-- For example
-- SELECT LLM_COMPLETE('What is the capital of France?', NULL, OBJECT_CONSTRUCT('max_tokens', 20)):answer::VARCHAR;
