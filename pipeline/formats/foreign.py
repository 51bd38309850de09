"""Formats of scans that are known and not read from one file: failed cases, not files to pass over in silence."""

from pipeline.formats.format import ForeignFormat


def is_dicom(head: bytes) -> bool:
    """Whether a file begins with a preamble of 128 bytes and "DICM" (PS3.10, section 7.1)."""
    return head[128:132] == b"DICM"


def is_mrtrix(head: bytes) -> bool:
    """Whether a file begins as MRtrix's do."""
    return head.startswith(b"mrtrix image")


DICOM = ForeignFormat(
    "DICOM",
    (".dcm", ".dcm.gz", ".ima", ".dicom"),
    "Convert it to NIfTI (dcm2niix); predict and check read it as it is.",
    is_dicom,
)
"""Of a scan in many files, which are put together in `dicom`; here, each is but a part of one."""
FOREIGN_FORMATS = (
    DICOM,
    ForeignFormat("MRtrix", (".mif", ".mif.gz", ".mih"), "Convert it to NIfTI (mrconvert).", is_mrtrix),
    ForeignFormat("Philips PAR/REC", (".par", ".rec"), "Convert it to NIfTI (dcm2niix)."),
    ForeignFormat("GIPL", (".gipl", ".gipl.gz"), "Convert it to NIfTI."),
    ForeignFormat(
        "a slide scanner's own format",
        (".svs", ".ndpi", ".scn", ".mrxs", ".vms", ".bif", ".qptiff"),
        "Export the region that is meant as TIFF or PNG.",
    ),
    ForeignFormat(
        "a microscope's own format",
        (".czi", ".lif", ".lsm", ".nd2", ".oib", ".oif", ".stk"),
        "Export it as TIFF.",
    ),
    ForeignFormat("JPEG 2000", (".jp2", ".j2k", ".jpf", ".jpx"), "Convert it to PNG or TIFF."),
    ForeignFormat("WebP", (".webp",), "Convert it to PNG."),
    ForeignFormat("HEIF", (".heic", ".heif", ".avif"), "Convert it to PNG."),
)
