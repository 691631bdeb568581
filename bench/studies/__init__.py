"""Studies: several protocols on one data set, and what each choice is worth."""
