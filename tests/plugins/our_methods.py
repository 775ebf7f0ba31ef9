"""All methods of ours that answer without a fit, with the settings (words of a command line) for trying them."""

CLIP = "model=shapes"
WINDOWS = ("resize=96", "window=64", "stride=32")
CLIPS = {
    "plain_clip:CLIP": (), "maskclip:MaskCLIP": ("key_smoothing=true", "prompt_denoising=true"),
    "clearclip:ClearCLIP": WINDOWS, "sclip:SCLIP": WINDOWS, "naclip:NACLIP": WINDOWS,
    "gem:GEM": ("resize=96", "depth=3"), "scclip:SCCLIP": (*WINDOWS, "middle=2", "early=3"),
    "sfp:SFP": (*WINDOWS, "middle=2", "early=3"), "resclip:ResCLIP": (*WINDOWS, "rcs_blocks=[2,3]"),
    "fused_clip:FusedCLIP": ("resize=96", "depth=4", "background=[sky]"),
}  # fmt: skip
DIFFUSION = {
    "stableseg:StableSeg": ("refine=samap",), "controls:WrongPrompt": ("timestep=100",),
    "diffsegmenter:DiffSegmenter": ("layer_weights=1/4:.8,1/2:.1,1/1:.1",), "daam:DAAM": (),
    "iseg:ISeg": ("refine_resolution=up:largest",), "fttm:FTTM": ("layers=1/4", "refine_resolution=second"),
    "dataset_diffusion:DatasetDiffusion": (), "goca:GoCAVanilla": ("refine_resolution=largest",),
}  # fmt: skip
OTHERS = {
    "controls:OneClass": (), "controls:RandomLabels": ("side=0",),
    "cliper:CLIPer": (CLIP, "diffusion=shapes", "resize=96"),
    "pamr:PAMR": ("method='methods.maskclip:MaskCLIP(model=shapes)'", "iterations=3", "dilations=[1,4]"),
    "dense_crf:DenseCRF": (f"method='methods.stableseg:StableSeg({CLIP})'", "unary=share", "short_side=48"),
}  # fmt: skip
OURS = {name: (CLIP, *more) for name, more in {**CLIPS, **DIFFUSION}.items()} | OTHERS
