"""Where jobs, events and logs are kept."""
