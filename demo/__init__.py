"""The demo: a real vLLM on the CPU, a small gateway, traffic, and real faults."""
