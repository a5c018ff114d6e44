-- What the services have cost, and what the form's two prices should be. The views lag by up to three hours.
USE ROLE ACCOUNTADMIN;

-- Credits per day and pool
SELECT
  DATE_TRUNC('day', start_time) AS day,
  compute_pool_name,
  ROUND(SUM(credits_used), 2) AS credits
FROM snowflake.account_usage.snowpark_container_services_history
WHERE start_time >= DATEADD('day', -30, CURRENT_TIMESTAMP())
  AND compute_pool_name LIKE 'DATAIKU%'
GROUP BY 1, 2
ORDER BY 1 DESC, 2;

-- Hours in which a pool was paid for, and credits per hour. A lone node that ran the whole hour shows its rate:
-- the form's "credits per hour".
SELECT
  compute_pool_name,
  COUNT(*) AS hours,
  ROUND(MAX(credits_used), 3) AS most_credits_in_an_hour
FROM snowflake.account_usage.snowpark_container_services_history
WHERE start_time >= DATEADD('day', -7, CURRENT_TIMESTAMP())
  AND credits_used > 0
GROUP BY 1;

-- Families of your region
SHOW COMPUTE POOL INSTANCE FAMILIES;

-- USD per credit of your contract: the form's price of a credit (needs the organization usage views)
SELECT date, service_type, currency, effective_rate
FROM snowflake.organization_usage.rate_sheet_daily
WHERE account_name = CURRENT_ACCOUNT_NAME()
  AND service_type ILIKE '%CONTAINER%'
QUALIFY ROW_NUMBER() OVER (PARTITION BY service_type ORDER BY date DESC) = 1;
