"""Alembic migrations. They ship with the daemon, which brings its database up to date when it starts."""
