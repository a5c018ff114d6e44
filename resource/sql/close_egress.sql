-- Takes away the containers' access to the internet, once their weights are on their volumes.
-- Run it when both services of create_openai_services.sql are READY. The chat service restarts, without a download.
-- To use another model later, give both services EXTERNAL_ACCESS_INTEGRATIONS = (DATAIKU_SPCS_HUGGING_FACE) again,
-- apply the changed specification with USING (offline => '0'), and run this file once more.
USE ROLE DATAIKU_SPCS_DEPLOYER_ROLE;
USE SCHEMA DATAIKU_SPCS.MODEL_REGISTRY;
SHOW SERVICE CONTAINERS IN SERVICE CHAT_SERVICE;
SHOW SERVICE CONTAINERS IN SERVICE EMBEDDING_SERVICE;

ALTER SERVICE CHAT_SERVICE FROM @SPECIFICATIONS SPECIFICATION_TEMPLATE_FILE = 'vllm.yaml' USING (offline => '1');
ALTER SERVICE CHAT_SERVICE UNSET EXTERNAL_ACCESS_INTEGRATIONS;
ALTER SERVICE EMBEDDING_SERVICE UNSET EXTERNAL_ACCESS_INTEGRATIONS;
SHOW SERVICES IN SCHEMA DATAIKU_SPCS.MODEL_REGISTRY;
