"""The choices of *Services found* in the form of *Run a model inside Snowflake*.

DSS calls `do` when the form is opened and when the choice changes. It must never raise.
"""


def do(payload, config, plugin_config, inputs):
    """The services that the input's connection sees, within a few seconds."""
    try:
        from spcs_llm.in_snowflake.choices import input_dataset, service_choices

        def executor():
            import dataiku

            name = input_dataset(inputs)
            if name is None:
                raise LookupError("no input")
            info = dataiku.Dataset(name).get_location_info()["info"]
            return dataiku.SQLExecutor2(connection=info["connectionName"])

        return {"choices": service_choices(payload, config, executor)}
    except Exception as error:  # noqa: BLE001 - a form that fails shows nothing
        return {
            "choices": [{"label": f"The services cannot be listed ({type(error).__name__}). Type a name."}]
        }
