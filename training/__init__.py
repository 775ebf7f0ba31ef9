"""Nothing flows in but settings; the embedded Shapes models flow out: a small Stable Diffusion and a small CLIP."""
