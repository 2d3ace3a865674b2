"""Reading zip archives from byte ranges."""
