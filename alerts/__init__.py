"""SLOs, symptoms, and the alerts that they raise."""
