"""Random lives of a few jobs, played against a real supervisor, and what holds after every step."""
