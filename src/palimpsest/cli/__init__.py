"""The command line: one module a command.

Results go to standard output, everything else to standard error. Exit codes:

    0    answered
    1    the program itself failed
    2    what was given cannot be used: a file, a question, a budget
    3    the set-up is wrong: a flag, a setting, a prompt file, a missing extra
    4    the model or its endpoint refused: URL, key, model name, window
    5    a passing failure of the endpoint: the same command goes on where it stopped
    130  stopped by Ctrl-C: the same command goes on where it stopped
"""

from palimpsest.cli.app import app, main

__all__ = ["app", "main"]
