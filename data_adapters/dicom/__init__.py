"""DICOM: from headers to series, from stored values to modality units, and annotations.

Importing this package silences pydicom's and highdicom's warnings, as warnings and in the log:
they quote the values that they dislike, patient names included.
"""

import logging
import warnings

warnings.filterwarnings("ignore", module=r"(pydicom|highdicom)\.")
for _name in ("pydicom", "highdicom"):
    logging.getLogger(_name).addFilter(lambda record: False)
