"""SAMPLE: the source system that the sample locations read; remove it with its Compose overlay."""
