"""Detection of focal lesions: from marks to candidates and their free-response curve."""
