"""What is offered to methods and how their answers become label maps, for all methods alike."""
