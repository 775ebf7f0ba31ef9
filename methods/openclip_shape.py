"""Nothing flows in; what a plan and the network of a ResNet of open_clip both have to know flows out, no torch."""

PATCH = 32  # stride of the tower's last map, in pixels
