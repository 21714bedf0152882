"""From photographs to poses; exports and their runtimes."""
