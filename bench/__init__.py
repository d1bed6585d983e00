"""How fast it is, as ratios against named peers in one run: `python -m bench`, or `make bench`.

Never a timed test: a busy machine would fail it. Each figure is the median of interleaved repetitions, so that noise
hits both sides.
"""
