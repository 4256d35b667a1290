"""The one root of the errors a user can cause or meet."""


class NaspruneError(Exception):
    """Something the user can mend: the message says what was given, what was expected and what to do.

    The command lines print the message as one line and exit with code 2.
    """


class DataError(NaspruneError):
    """A data set, image or split that cannot be used as it is, or a file that cannot be written."""


class SettingsError(NaspruneError):
    """A setting, or a combination of settings, that cannot be honoured."""


class NetworkError(NaspruneError):
    """A network that cannot be built, traced or cut."""


class TrainingError(NaspruneError):
    """A training that has diverged."""


class ArtifactError(NaspruneError):
    """A file of a point or checkpoint that is missing, damaged or does not fit."""


def first_line(error: BaseException) -> str:
    """What an error of others' code says, without what follows its first line; its kind if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
