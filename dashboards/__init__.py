"""Grafana boards, generated from the schema and the metric families."""
