"""The catalog: hosted models and GPU types, their data files, and how these reach the tables."""
