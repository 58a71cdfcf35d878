"""The bench that a running meter stands on: its clock, LAN, power, storage faults, self-tests and snapshots, in process
and over HTTP on this machine alone, and what happened, as a stream. What a control does to a meter is in `virtual`; no
rule of a meter lives here, and nothing here takes or makes money.
"""
