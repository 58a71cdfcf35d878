"""The post office: what it makes of an indicium that it scans, and what it remembers of those before.

The checks are pure functions over what they are given. No device, and no provider's books but those handed in.
"""
