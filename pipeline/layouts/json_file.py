"""Reading a JSON file that a user wrote or copied."""

import json
from pathlib import Path
from typing import Any

from pipeline.errors import DatasetError


def read_json(path: Path) -> Any:
    """The content of a JSON file, with or without the byte order mark that some editors write.

    Raises:
        DatasetError: the file cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DatasetError("a readable file", f"{path}: {error.strerror}", "Check its path and permissions.") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError("valid JSON", f"{path}, which does not parse: {error}", "Mend its syntax.") from error
