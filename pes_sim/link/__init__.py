"""The serial protocol: frames, messages, both ends of a line, and the ports it runs over.

Framing and messages are sans-IO; only `ports/` touches a file descriptor. What a service does is not known here.
"""
