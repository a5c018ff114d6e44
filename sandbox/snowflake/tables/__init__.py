"""Tables of the account, and statements over them: duckdb runs them, translated; what is not known is refused.

What is translated is what a recipe needs. A function, a type or a clause that is not listed in `dialect` is an error of
the stand-in, so that nothing is answered by a guess. Needs duckdb and sqlglot.
"""
