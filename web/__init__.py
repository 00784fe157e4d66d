"""The web side of the daemon: health, own metrics, read-only JSON."""
