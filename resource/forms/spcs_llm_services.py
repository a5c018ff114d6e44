"""The choices of *Services found* in the forms of *Suspend services* and *Resume services*.

DSS calls `do` when the form is opened and when a field of the sign-in changes. It must never raise.
"""


def _executor(connection):
    from dataiku import SQLExecutor2

    return SQLExecutor2(connection=connection)


def _access_token(credentials):
    from dataiku.core.plugin import OAuthCredentials

    return OAuthCredentials(credentials).access_token


def do(payload, config, plugin_config, inputs):
    """The services that the role may see, within a few seconds."""
    try:
        from spcs_llm.control.choices import service_choices
        from spcs_llm.control.open_session import Dss

        return {"choices": service_choices(payload, config, Dss(_executor, _access_token))}
    except Exception as error:  # noqa: BLE001 - a form that fails shows nothing
        return {
            "choices": [
                {"label": f"The services cannot be listed ({type(error).__name__}). Type their names."}
            ]
        }
