"""The soak test, which runs the system under faults and verifies that no data is lost."""
