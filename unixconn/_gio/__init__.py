"""Gio's classes."""
