"""DICOM: from headers to series, from stored values to modality units, and annotations."""
