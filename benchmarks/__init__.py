"""Side-by-side measurements: `python -m benchmarks` (speed) and `python -m benchmarks.downstream` (quality)."""
