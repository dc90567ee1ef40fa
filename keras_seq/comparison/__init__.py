"""One task, every architecture, one report."""
