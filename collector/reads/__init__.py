"""Every read that boards, reports, alerts and the API use."""
