"""Certificates, keys and CAs: where they come from, whether they can be used, and the block that workers get them in."""
