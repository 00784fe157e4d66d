"""Reports: what tenants used, for those who plan and those who audit."""
