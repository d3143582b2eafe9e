"""Sizes of the `pocket` network and of the pictures it makes. Torch-free, so that a dry run costs nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from moc.sampling import timesteps
from moc.world import schema

LONGEST_SHOT = 16  # latent frames of the longest shot of training: 8 s
MAX_TRAINED_SHOT = 64  # the highest shot index of training, which sets in at a random one
OF_SAMPLING = ("shift", "last_step", "noise", "guidance", "guidance_from", "guidance_to", "reach")
"""What a model says of how it is sampled; its network is the same whatever they are."""


@dataclass(frozen=True)
class PocketConfig:
    """Shape of the network. The default has the sizes of the shipped model without its skip: 7.99 M parameters, 8.34 M
    and 16 MiB in bf16 with it. How that one is sampled lies with its weights: shift 10, guidance 2 from 0.5 up to
    0.99, the last step at 0.4.

    Attributes:
        width: channels of the residual stream.
        layers, heads: transformer blocks and attention heads (`width / heads` channels a head).
        mlp: hidden channels of each block's MLP.
        head: hidden channels of the output MLP. One linear layer from `width` could not give patches of
            `patch_values` numbers full rank, so the output needs a hidden layer at least as wide as a patch.
        skip: whether the noisy patch reaches the output MLP past the blocks, frame by frame, and through a gate the
            output itself. Of something that moves, the frames of a patch all differ, and are more numbers than `width`
            carries.
        patch_frames, patch_size: a token is `patch_frames` frames of `patch_size` x `patch_size` pixels.
        picture_width, picture_height, fps: pixels and frames a second of the video.
        shift: of the timesteps of sampling; last_step: the last of them but 0 (see `timesteps`), 0 for an even grid.
        noise: kind of noise ("scales" or "white") of training, which sampling repeats.
        guidance: classifier-free guidance scale that stories get which ask for none; 1 is none.
        guidance_from, guidance_to: guidance acts between these timesteps and costs nothing outside (a limited interval:
            Kynkaanniemi et al., NeurIPS 2024). In the first steps a figure is a faint shadow wherever it might be, and
            guidance makes two of one.
        reach: shots back, at most, that training has shown to a shot; a stream sees those further back there.
        global_tokens, caption_tokens: text tokens of the story and of each shot (padding included).
        slots, facts: sizes of the text embeddings, those of `moc.world.schema`.

    Raises:
        ValueError: a size below one, or sizes that do not fit together.
    """

    width: int = 256
    layers: int = 8
    heads: int = 4
    mlp: int = 1024
    head: int = 768
    skip: bool = False
    patch_frames: int = 4
    patch_size: int = 8
    picture_width: int = schema.WIDTH
    picture_height: int = schema.HEIGHT
    fps: int = schema.FPS
    shift: float = 3.0
    last_step: float = 0.0
    guidance: float = 1.0
    guidance_from: float = 0.0
    guidance_to: float = 1.0
    noise: str = "scales"
    reach: int = 7
    global_tokens: int = schema.GLOBAL_TOKENS
    caption_tokens: int = schema.CAPTION_TOKENS
    slots: int = schema.N_SLOTS
    facts: int = schema.N_FACTS

    def __post_init__(self) -> None:
        if self.noise not in ("scales", "white"):
            raise ValueError(f"noise = {self.noise!r} must be 'scales' or 'white'")
        if not self.shift > 0:
            raise ValueError(f"shift must be positive, got {self.shift}")
        if not 0 <= self.last_step < 1:
            raise ValueError(f"last_step must be at least 0 and below 1, got {self.last_step}")
        if not 0 <= self.guidance <= 50:
            raise ValueError(f"guidance must be 0 to 50, got {self.guidance}")
        if not 0 <= self.guidance_from <= self.guidance_to <= 1:
            raise ValueError(
                "guidance_from and guidance_to must be 0 to 1, the former no higher, "
                f"got {self.guidance_from} and {self.guidance_to}"
            )
        for name, value in self.to_dict().items():
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.width % self.heads or (self.width // self.heads) % 4:
            raise ValueError(f"width {self.width} must give each of {self.heads} heads a multiple of 4 channels")
        if self.skip and self.head % self.patch_frames:
            raise ValueError(f"head {self.head} must be a multiple of patch_frames {self.patch_frames} under skip")
        if self.picture_width % self.patch_size or self.picture_height % self.patch_size:
            raise ValueError(
                f"picture {self.picture_width}x{self.picture_height} must be a multiple of the patch {self.patch_size}"
            )

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.width // self.heads

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches in a latent frame."""
        return self.picture_height // self.patch_size, self.picture_width // self.patch_size

    @property
    def tokens_per_frame(self) -> int:
        """Video tokens of one latent frame."""
        rows, columns = self.grid
        return rows * columns

    @property
    def patch_values(self) -> int:
        """Numbers in one patch (frames x RGB x pixels)."""
        return self.patch_frames * 3 * self.patch_size**2

    def timesteps(self, steps: int) -> list[float]:
        """The timesteps of sampling in so many steps, from 1 down to 0."""
        return timesteps(steps, self.shift, self.last_step)

    def guides(self, t: float) -> bool:
        """Whether guidance acts at timestep `t`."""
        return self.guidance_from <= t <= self.guidance_to

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints and manifests."""
        return asdict(self)
