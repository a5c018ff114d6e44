"""The choices that *Run a model inside Snowflake* offers: services, models and compute pools that are found.

DSS calls `do` when the form is opened and when a choice changes. It must never raise.
"""


def do(payload, config, plugin_config, inputs):
    """What the input's connection sees, within a few seconds."""
    try:
        from spcs_llm.in_snowflake.choices import found_choices, input_dataset

        def executor():
            import dataiku

            name = input_dataset(inputs)
            if name is None:
                raise LookupError("no input")
            info = dataiku.Dataset(name).get_location_info()["info"]
            return dataiku.SQLExecutor2(connection=info["connectionName"])

        return {"choices": found_choices(payload, config, executor)}
    except Exception as error:  # noqa: BLE001 - a form that fails shows nothing
        return {"choices": [{"label": f"Nothing can be listed ({type(error).__name__}). Type a name."}]}
