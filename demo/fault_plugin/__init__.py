"""A plugin that runs inside vLLM, beside vLLM's own packages: it imports nothing of llm-slo.

The directory is put on the server's PYTHONPATH, where the entry point in it makes vLLM load ``llm_slo_fault``.
"""
