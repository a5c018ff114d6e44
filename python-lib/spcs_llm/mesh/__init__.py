"""LLM Mesh on one side, our types on the other: nothing of the wire to the services is known here."""
