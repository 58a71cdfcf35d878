"""The postal security device: registers, keys, life cycle, services, and the storage that outlives a power cut.

Requests and the time come in, answers go out. No serial port, no socket, no asyncio, no wall clock.
"""
