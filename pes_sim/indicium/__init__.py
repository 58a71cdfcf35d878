"""What is printed: layouts (bytes of an indicium), symbols (Data Matrix) and the check of both.

Pure functions over bytes. No registers, no storage, no clock: whoever calls passes what is needed.
"""
