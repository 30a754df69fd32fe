"""Runs: a run file checked, resolved, saved beside its results, and carried out. The command line is thin over this."""
