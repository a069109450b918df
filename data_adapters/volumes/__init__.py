"""Volume files (NIfTI, NRRD, MetaImage) and stacks of pictures."""
