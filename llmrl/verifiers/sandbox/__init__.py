"""Running untrusted programs: levels of isolation, a template that forks them, verdicts that they cannot forge."""
