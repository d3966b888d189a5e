"""Numbers that a plant understands: verdicts on parts, defects one by one, AUPRO. Without torch, usable alone."""
