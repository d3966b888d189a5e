"""`python -m wsss_benchmark`, and with it `torchrun -m wsss_benchmark`."""

from wsss_benchmark import main

if __name__ == "__main__":
    main()
