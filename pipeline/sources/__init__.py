"""Where pieces come from: folders, archives, public data sets; their splits and labels."""
