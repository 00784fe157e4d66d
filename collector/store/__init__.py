"""Every write of rows: requests with their pulses, and what scrapes say of the fleet."""
