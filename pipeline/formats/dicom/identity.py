"""Whose images a file of DICOM holds, for the one table that may say so."""

from pathlib import Path

from pipeline.errors import ScanError
from pipeline.formats.dicom.frames import decoding, read_dataset
from pipeline.wording import printable

IDENTITY = {
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "patient_birth_date": "PatientBirthDate",
    "study_date": "StudyDate",
    "accession_number": "AccessionNumber",
    "series_description": "SeriesDescription",
}
"""Columns, and the elements that they show."""


def read_identity(path: Path) -> dict[str, str]:
    """What a file says about its patient and study, by column; "" for what it does not say.

    It names a patient: what is made of it must not go into logs, pages or tracking.
    """
    try:
        dataset = read_dataset(path, only=list(IDENTITY.values()))
        with decoding():
            return {column: printable(str(dataset.get(name) or "")) for column, name in IDENTITY.items()}
    except ScanError:  # its row says that it is damaged
        return dict.fromkeys(IDENTITY, "")
