"""The provider's data centre: its test PKI, its ledger of customers' money, and its side of refills and check-ins.

It sees a meter's signed messages only; it holds no meter's registers but those that were reported.
"""
