"""What runs the work: one launcher per kind of work, all held to `supervisor.abc.Launcher`."""
