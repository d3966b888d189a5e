"""`check`: whether the numbers are still those that were recorded.

Tier 1 applies recorded weights to a fixed part of the data: inference, refinement, evaluation. Tier 2 trains everything
for a few iterations. Both tell a change of the code from what seeds, threads and library versions do.
"""
