"""Run the whole system on one machine. Not deployed."""
