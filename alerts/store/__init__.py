"""All SQL of the alerter."""
