"""The meter around the PSD: departments, rates, its store of pieces, and its connection to the data centre.

Money lives in the PSD alone. What is kept here can be made again from the PSD's log.
"""
