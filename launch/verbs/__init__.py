"""One module a verb of `python -m launch`: its flags, and what it does."""
