-- A user for DSS that signs in by key pair or by programmatic access token. After setup.sql; as ACCOUNTADMIN.
USE ROLE ACCOUNTADMIN;
CREATE USER IF NOT EXISTS DATAIKU_SPCS_USER
  TYPE = SERVICE DEFAULT_ROLE = DATAIKU_SPCS_ROLE DEFAULT_SECONDARY_ROLES = ()
  COMMENT = 'Calls the model services from DSS';
GRANT ROLE DATAIKU_SPCS_ROLE TO USER DATAIKU_SPCS_USER;
ALTER USER DATAIKU_SPCS_USER SET NETWORK_POLICY = DATAIKU_SPCS_NETWORK_POLICY;

-- Key pair: openssl genrsa 2048 | openssl pkcs8 -topk8 -v2 aes-256-cbc -out key.p8
--           openssl rsa -in key.p8 -pubout     (its lines, without BEGIN and END, go below)
ALTER USER DATAIKU_SPCS_USER SET RSA_PUBLIC_KEY = '<public key>';

-- Programmatic access token: the statement's answer holds it, once. A service user needs the network policy above.
ALTER USER DATAIKU_SPCS_USER ADD PROGRAMMATIC ACCESS TOKEN IF NOT EXISTS DATAIKU_SPCS_TOKEN
  ROLE_RESTRICTION = 'DATAIKU_SPCS_ROLE' DAYS_TO_EXPIRY = 90;
