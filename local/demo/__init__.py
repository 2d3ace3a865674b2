"""The demo: sends archives through the system and verifies the results."""
