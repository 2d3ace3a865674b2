"""Tools for operators: checks, the status page and the commands."""
