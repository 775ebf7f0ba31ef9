"""What a learner is taught, how it is fitted in this process, and what is told while it is."""
