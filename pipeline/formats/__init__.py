"""Readers and writers, one file for each library: the only place that knows foreign conventions of axes."""

import sys

if "pydicom" not in sys.modules:
    # nibabel imports it for DICOM elements inside NIfTI files, which nobody asks for here: it would make every process
    # that reads a scan start in twice the time.
    sys.modules["pydicom"] = None  # type: ignore[assignment]  # how Python marks a module that is not to be found
    try:
        import nibabel  # noqa: F401
    finally:
        del sys.modules["pydicom"]
