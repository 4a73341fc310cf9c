"""Fetching public sets from the servers that hold them."""
