"""From a case to a training array: small steps that know their way back."""
