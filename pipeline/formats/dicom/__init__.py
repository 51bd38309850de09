"""DICOM: what the files of a folder are, which of them make up a volume, and the values of its voxels.

`frames` reads what each file says, `volumes` puts the slices together, `pixels` decodes them.
"""
