"""Slow references in plain loops, written from the specification alone, against the implementation.

Every reference walks over pixels one by one in double precision and shares no code with what it checks.
"""
