"""Online: the Datasette plugin that answers lookups from the promoted release."""
