"""The exit codes of the commands, one meaning each; 0 is a command that ended well."""

SOME_UNREADABLE = 1  # some images could not be read; the others were
BAD_INPUT = 2  # one line says what
NOBODY_READS = 141  # the output's reader went away: 128 and SIGPIPE, as a shell shows other tools
FAILED_CHECK = 4  # an export differs from the network, and was removed
# How a training that ended early ends its command, by the name of the error.
ENDINGS = {"NonFinite": 3, "LostImage": 5, "Interrupted": 75, "LostWorker": 76}
