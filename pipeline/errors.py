"""The errors that a user can cause: each one says what was expected, what was found and what to do."""


class UserError(Exception):
    """Something outside the code is wrong, and the user can mend it.

    Args:
        expected: what the code needs, as a noun phrase ("a 3D scan").
        found: what it met instead ("an array of shape (64, 64, 3, 2)").
        remedy: what to do about it, as an instruction ("Choose one volume and save it alone.").
    """

    def __init__(self, expected: str, found: str, remedy: str) -> None:
        self.expected = expected
        self.found = found
        self.remedy = remedy
        super().__init__(expected, found, remedy)  # the three arguments, so that it survives pickling

    def __str__(self) -> str:
        end = "\n" if "\n" in self.found else ". "  # a list of problems ends where its last line does
        return f"Expected {self.expected}; found {self.found.rstrip()}{end}{self.remedy}"


class ConfigError(UserError):
    """A setting, or the way settings go together, cannot be used."""


class ScanError(UserError):
    """A file is no scan or mask that can be read without guessing."""


class DamagedFileError(ScanError):
    """A file is damaged, cut off or cannot be opened, so that nobody knows what it holds."""


class TooLargeError(ScanError):
    """A scan takes more memory than is free just now."""


class DatasetError(UserError):
    """A folder is no data set that can be trained or evaluated on."""


class ModelError(UserError):
    """A model package, or a checkpoint, cannot be loaded or does not fit its input."""


class OutputError(UserError):
    """A result cannot be written where it was asked for."""


def reason_of(error: Exception) -> str:
    """Why a single case failed: a user's error in its own words, anything else with its kind."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
