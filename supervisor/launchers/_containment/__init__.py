"""Containment: who belongs to a job, how to end them all, and how one knows that they are gone.

Two ways, behind one interface: a cgroup of its own for each attempt (`cgroup`), and where that is
not to be had, its session and process group and a search of the process table (`group`).
"""
