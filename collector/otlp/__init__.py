"""OTLP receivers: gRPC, and HTTP with protobuf or JSON. What leaves this package is allow-listed and holds no prompt."""
