"""From an address with settings to the object that it describes, and to what identifies it."""
