"""The soak test: runs the system under faults and verifies that no data is lost."""
