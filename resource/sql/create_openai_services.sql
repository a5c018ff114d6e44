-- Runs vLLM and a CPU embedding server as services with OpenAI's API: streaming, tools, images.
-- In the form of the model: "Service protocol" OpenAI.
-- Before you run this file: create_image_repository.sql, the two images, the two specifications (docs/deployment.md).
-- The pools of setup.sql have one node each. Suspend the services of the notebook first, or raise MAX_NODES of the
-- pools (operate.sql); otherwise these services wait for a node.
USE ROLE DATAIKU_SPCS_DEPLOYER_ROLE;
USE SCHEMA DATAIKU_SPCS.MODEL_REGISTRY;

-- Compare the digests with those of the images that you chose (docs/deployment.md), and the names of the files.
SHOW IMAGES IN IMAGE REPOSITORY IMAGES;
LIST @SPECIFICATIONS;

-- vllm.yaml is a template: 'offline' becomes the container's HF_HUB_OFFLINE, '0' while it downloads its weights.
CREATE SERVICE IF NOT EXISTS CHAT_SERVICE
  IN COMPUTE POOL DATAIKU_GPU_NV_S_MODEL_COMPUTE_POOL
  FROM @SPECIFICATIONS SPECIFICATION_TEMPLATE_FILE = 'vllm.yaml' USING (offline => '0')
  EXTERNAL_ACCESS_INTEGRATIONS = (DATAIKU_SPCS_HUGGING_FACE) MIN_INSTANCES = 1 MAX_INSTANCES = 1;
CREATE SERVICE IF NOT EXISTS EMBEDDING_SERVICE
  IN COMPUTE POOL DATAIKU_CPU_X64_XS_EMBED_COMPUTE_POOL
  FROM @SPECIFICATIONS SPECIFICATION_FILE = 'embeddings.yaml'
  EXTERNAL_ACCESS_INTEGRATIONS = (DATAIKU_SPCS_HUGGING_FACE) MIN_INSTANCES = 1 MAX_INSTANCES = 1;
GRANT SERVICE ROLE CHAT_SERVICE!CALLER TO ROLE DATAIKU_SPCS_ROLE;
GRANT SERVICE ROLE EMBEDDING_SERVICE!CALLER TO ROLE DATAIKU_SPCS_ROLE;

-- Repeat these until both containers are READY and ingress_url holds a host. The first start downloads the weights.
SHOW SERVICE CONTAINERS IN SERVICE CHAT_SERVICE;
SHOW SERVICE CONTAINERS IN SERVICE EMBEDDING_SERVICE;
SHOW ENDPOINTS IN SERVICE CHAT_SERVICE;
SHOW ENDPOINTS IN SERVICE EMBEDDING_SERVICE;
