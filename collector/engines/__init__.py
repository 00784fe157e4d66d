"""One file per engine: its metric names, old and new, into snapshots."""
