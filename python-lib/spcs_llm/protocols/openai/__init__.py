"""The OpenAI API, as model servers speak it."""
