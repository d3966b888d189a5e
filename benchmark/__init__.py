import wsss_benchmark  # noqa: F401  puts this project's `datasets` before Hugging Face's
