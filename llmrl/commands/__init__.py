"""What ``llmrl <command>`` does, a module for each command; every one has ``main(arguments)``."""
