"""The doctor: checks settings, Azure resources, sources and events."""
