"""The collector: receives spans, scrapes engines, assembles, normalises, keeps."""
