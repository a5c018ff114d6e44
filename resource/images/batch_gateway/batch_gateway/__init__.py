"""The batch gateway: stands beside a model server in one service, and answers Snowflake's batches of rows.

Snowflake calls a service function by `POST {"data": [[number, argument, …], …]}` and expects one value for each row
(Snowflake documentation, "Service functions" and "Input and output data formats for external functions"). Model
servers speak OpenAI's API, one chat a request. The gateway is between them, in the same service, and asks the server
by what the plugin itself asks with: `spcs_llm`.

    settings    the environment's variables
    app         HTTP: paths, statuses, how long a request waits for its batch
    batches     what runs and what is kept, by the id that Snowflake gives a batch
    engine      the model server: its model, its health, and the threads that ask it
    tasks       what a row's arguments mean, and what value the row gets
    parameters  the names of a row's parameters
    rows        Snowflake's format of rows
    snowflake_json, compression
                how Snowflake writes a NULL in an array, and how it packs a batch
    logs        one JSON object a line
"""
