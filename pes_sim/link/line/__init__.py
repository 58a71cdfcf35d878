"""A line that behaves like one: bytes that take their time, bits that flip, plugs that come out.

`line.py` is the pure core and `ends.py` puts it around a port; a setting is in `config.py`, a fault in `faults.py`.
What the bytes mean is not known here. docs/line.md says what is modelled, and what is not.
"""
