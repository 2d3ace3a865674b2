"""Settings, errors and telemetry of the app."""
