"""Ways to tell people: one file per kind of sink."""
