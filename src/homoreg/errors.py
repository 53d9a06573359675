"""The one exception for what a user can cause and mend."""


class HomoregError(Exception):
    """One line that names the file, field or option at fault and the mend.

    The commands print it without a traceback and end with exit code 2; inside a sweep the job
    fails and the others go on.
    """
