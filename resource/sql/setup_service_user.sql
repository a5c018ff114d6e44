-- A service user for DSS, which signs in with a key pair or a programmatic access token instead of OAuth.
-- Run it after setup.sql, as a user with the ACCOUNTADMIN role. Then uncomment one of the two statements at the end.
USE ROLE ACCOUNTADMIN;
CREATE USER IF NOT EXISTS DATAIKU_SPCS_USER TYPE = SERVICE COMMENT = 'Calls the model services from DSS';
ALTER USER DATAIKU_SPCS_USER SET DEFAULT_ROLE = DATAIKU_SPCS_ROLE DEFAULT_SECONDARY_ROLES = ();
ALTER USER DATAIKU_SPCS_USER SET NETWORK_POLICY = DATAIKU_SPCS_NETWORK_POLICY;
GRANT ROLE DATAIKU_SPCS_ROLE TO USER DATAIKU_SPCS_USER;

-- Either a key pair (the plugin's preset "Key pair credentials"). Create it with
--   openssl genrsa 2048 | openssl pkcs8 -topk8 -v2 aes-256-cbc -out key.p8
--   openssl rsa -in key.p8 -pubout
-- and paste the lines of the public key between BEGIN and END. The key has no expiry date and is not limited to one
-- role, so the user must have no other role than DATAIKU_SPCS_ROLE.
-- ALTER USER DATAIKU_SPCS_USER SET RSA_PUBLIC_KEY = '<public key>';

-- Or a programmatic access token (the preset "Programmatic access token"). The token is shown only once, in the result
-- of this statement, and is limited to one role. In DSS, the user whose jobs call the models pastes it under
-- Profile > Credentials. A new token before the old one expires:
--   ALTER USER DATAIKU_SPCS_USER ROTATE PROGRAMMATIC ACCESS TOKEN DATAIKU_SPCS_TOKEN
-- ALTER USER DATAIKU_SPCS_USER ADD PROGRAMMATIC ACCESS TOKEN IF NOT EXISTS DATAIKU_SPCS_TOKEN
--   ROLE_RESTRICTION = 'DATAIKU_SPCS_ROLE' DAYS_TO_EXPIRY = 90;
