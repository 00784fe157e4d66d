"""Runs inside vLLM. Nothing here may ever stop or slow an engine: every exception is swallowed and counted."""
