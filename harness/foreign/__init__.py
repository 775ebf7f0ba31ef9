"""How plug-ins are called: with set generators, lent images and features, and a look at what they left behind."""
