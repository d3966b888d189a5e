"""`python -m benchmark`."""

from benchmark.stopping import program

if __name__ == "__main__":
    program()
