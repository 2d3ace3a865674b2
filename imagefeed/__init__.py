"""The format of results and reading them."""
