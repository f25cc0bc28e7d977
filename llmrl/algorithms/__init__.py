"""Algorithms: one file is one method, one frozen configuration and one loss."""
