import dataiku, dataiku.customwebapp, spcs_llm.monitor.dss  # noqa: E401, I001 - DSS puts Flask's `app` in here

spcs_llm.monitor.dss.serve(app, dataiku, dataiku.customwebapp.get_webapp_config())  # noqa: F821
