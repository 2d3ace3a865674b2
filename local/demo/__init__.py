"""The demo, which sends archives through the system and verifies the results."""
