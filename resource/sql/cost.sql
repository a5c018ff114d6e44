-- What the services have cost, and what to type into the form as prices. Run it as a user with the ACCOUNTADMIN role.
USE ROLE ACCOUNTADMIN;
USE WAREHOUSE DATAIKU_SPCS_WAREHOUSE;

-- Credits per day and pool (up to three hours late), by days in UTC, as on the bill. SYSTEM_COMPUTE_POOL_CPU imports
-- models and builds images for the notebook; other teams may use it too.
SELECT
  DATE_TRUNC('day', CONVERT_TIMEZONE('UTC', start_time)) AS day,
  compute_pool_name,
  ROUND(SUM(credits_used), 2) AS credits
FROM snowflake.account_usage.snowpark_container_services_history
WHERE start_time >= DATEADD('day', -30, CURRENT_TIMESTAMP())
  AND (compute_pool_name LIKE 'DATAIKU%' OR compute_pool_name = 'SYSTEM_COMPUTE_POOL_CPU')
GROUP BY 1, 2
ORDER BY 1 DESC, 2;

-- Hours that were billed, and credits per hour. For a single node that ran for a full hour, this is its hourly rate:
-- "Credits per hour" in the form. Snowflake's list: www.snowflake.com/legal-files/CreditConsumptionTable.pdf.
SELECT
  compute_pool_name,
  COUNT(*) AS hours,
  ROUND(MAX(credits_used), 3) AS highest_credits_in_an_hour
FROM snowflake.account_usage.snowpark_container_services_history
WHERE start_time >= DATEADD('day', -7, CURRENT_TIMESTAMP())
  AND credits_used > 0
  AND (compute_pool_name LIKE 'DATAIKU%' OR compute_pool_name = 'SYSTEM_COMPUTE_POOL_CPU')
GROUP BY 1;

-- Instance families of your region, with their GPUs (no prices)
SHOW COMPUTE POOL INSTANCE FAMILIES;

-- Price of a credit in your contract: "Cost of a credit" in the form (up to 24 hours late). Uncomment it in the
-- organization account, or in an account where ORGADMIN is enabled; elsewhere the view does not exist. Customers of a
-- reseller get no rows: ask for the price. Take the row of Snowpark Container Services, or that of warehouses.
-- SELECT date, service_type, currency, effective_rate
-- FROM snowflake.organization_usage.rate_sheet_daily
-- WHERE account_name = '<name of the account that runs the services>'
--   AND rating_type = 'compute' AND billing_type = 'consumption' AND NOT is_adjustment
-- QUALIFY ROW_NUMBER() OVER (PARTITION BY service_type ORDER BY date DESC) = 1;
