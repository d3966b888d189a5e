"""What the field reports, shown: in the terminal, as a related-work table in LaTeX, and as a page."""
