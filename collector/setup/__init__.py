"""The first minutes: what serves on this machine, a configuration for it, and the wiring of what stands around it."""
