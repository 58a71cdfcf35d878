"""What a person sees: mail pieces as PDF pages, and pages (PDF or scanned) as images to read symbols from.

Specimens only. Files and drawing live here; what an indicium says and whether it is genuine does not.
"""
