"""What tests of methods need, in this repository and in plug-ins."""
