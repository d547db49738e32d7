"""The command line: ``unixconn receive``, ``send``, ``peer``, ``demo`` and ``info``."""
