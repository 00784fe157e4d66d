"""Files of telemetry, once more through the path of live telemetry: to reproduce a case, or to load what was missed."""
