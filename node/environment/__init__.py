"""Python environments: what a project declares, how uv builds it, and where the results are kept."""
