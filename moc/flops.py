"""What attention costs, counted: query-key pairs, FLOPs and bytes of each part. Torch loads on first use.

Notation of Cai et al., sec. 3.3 (arXiv 2508.21058): L tokens, C chunks, d channels a head, k routed chunks of mean
length m. Per head and layer the paper gives

    pooling   L d                     every key is added once                       (first term of Eq. 4)
    routing   2 L C d                 a score is a dot product: d products, d sums  (second term)
    attention 4 L k m d               2 d for Q K^T and 2 d for P V, a pair         (third term)
    dense     4 L^2 d                 the same for all pairs                        (Eq. 5)

The ratio of the last to the rest is 2 L / (C + 2 k m) without pooling; the paper prints 2 L / (C d + 2 k m) (Eq. 6),
whose d is one too many. The paper's third term leaves out the text and the own shot, which are attended always.

Here every sum runs over the real chunks, which differ in length, and over what the masks really admit: a query of the
first shot scores and routes nothing, one of the second may have fewer than k chunks to pick from. One number is an
expectation: which chunks a query picks is not known beforehand, so a link counts the mean length of the chunks it
might go to, exact where all of them are taken or all are equally long. `routed_pairs_of` counts a real routing.

Not counted, being no products of a query with a key: softmax, the merge of the parts, top-k itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moc.config import MoCConfig
    from moc.layout import TokenLayout
    from moc.routing import Routing

FLOPS_PER_PAIR = 4  # times d: Q K^T and P V
FLOPS_PER_PAIR_BACKWARD = 10  # times d: Q K^T again, dP = dO V^T, dV = P^T dO, dQ = dS K, dK = dS^T Q
FLOPS_PER_SCORE = 2  # times d
QUERY_TILE = 128  # queries that a multiprocessor works on at once in dense attention
LINKS_SORTED_AT_ONCE = 1024  # as `SORTED_AT_ONCE` of moc.attention.triton.plan, which needs triton


@dataclass(frozen=True)
class Counts:
    """Pairs of one head in one layer.

    Attributes:
        tokens: L. video_tokens: those of them that are no text.
        chunks: video chunks, the ones that can be routed to.
        text_pairs: (query, key) pairs whose key is text.
        own_pairs: pairs of the own link, keys of video: own shot, chunk or window.
        routed_pairs: pairs of routed links, an expectation where chunk lengths differ, and under a pattern that the
            layout decides its pairs with video beyond the own link's shot.
        links: routed links: queries times the chunks they pick.
        scored: (query, chunk) pairs that are scored.
        backward_pairs: pairs of a token with its own and earlier shots and the global text: all that a stream, which
            can't look ahead, could ever attend.
        mandatory_groups: queries and keys of each group of the mandatory part, whose queries share their keys.
    """

    tokens: int
    video_tokens: int
    chunks: int
    text_pairs: int
    own_pairs: int
    routed_pairs: float
    links: int
    scored: int
    backward_pairs: int
    mandatory_groups: tuple[tuple[int, int], ...]

    @property
    def pairs(self) -> float:
        """All attended pairs."""
        return self.text_pairs + self.own_pairs + self.routed_pairs

    @property
    def dense_pairs(self) -> int:
        """L^2."""
        return self.tokens**2

    @property
    def density(self) -> float:
        """Attended pairs / L^2."""
        return self.pairs / self.dense_pairs

    @property
    def sparsity(self) -> float:
        """1 - density: against all pairs, as the literature counts."""
        return 1 - self.density

    @property
    def sparsity_causal(self) -> float:
        """The share left out of the pairs with the own and earlier shots; below zero where later ones are attended."""
        return 1 - self.pairs / self.backward_pairs

    @property
    def keys_per_query(self) -> float:
        """Keys that a query attends on average: density x L."""
        return self.pairs / self.tokens

    @property
    def ratio(self) -> float:
        """Dense pairs / attended pairs, the speed-up if attention were all and time went by pairs alone."""
        return self.dense_pairs / self.pairs


@dataclass(frozen=True)
class Flops:
    """FLOPs by part; `text`, `own` and `routed` by the kind of key."""

    pool: float
    route: float
    text: float
    own: float
    routed: float
    dense: float

    @property
    def attended(self) -> float:
        """Attention alone."""
        return self.text + self.own + self.routed

    @property
    def total(self) -> float:
        """Attention, pooling and routing."""
        return self.attended + self.pool + self.route

    @property
    def ratio(self) -> float:
        """Dense / attended pairs."""
        return self.dense / self.attended

    @property
    def ratio_total(self) -> float:
        """Dense / everything that MoC computes."""
        return self.dense / self.total

    def parts(self) -> dict[str, float]:
        """FLOPs of each part of MoC, by the kind of key where it attends."""
        return {name: value for name, value in asdict(self).items() if name != "dense"}


def count(layout: TokenLayout, config: MoCConfig) -> Counts:
    """Pairs of one forward pass over the whole stream; drop-off and drop-in, which train alone, are not counted.

    Raises:
        ValueError: the layout is cut into other chunks than the config asks for, or holds no token.
    """
    import torch

    from moc.attention.mandatory import mandatory

    if config.chunk_tokens != layout.chunk_tokens:
        raise ValueError(
            f"the layout is cut into chunks of {layout.chunk_tokens}, the config asks for {config.chunk_tokens}"
        )
    if layout.length == 0:
        raise ValueError("the layout must hold at least one token, got 0")
    videos = [layout.video_range(number) for number in layout.shot_numbers]
    starts = [layout.token_range(number)[0] for number in layout.shot_numbers]
    text_pairs = own_pairs = fixed_pairs = 0
    groups = []
    for group in mandatory(layout, config, (0, layout.length), torch.device("cpu")).groups:
        rows = group.q_stop - group.q_start
        place = bisect_right(starts, group.q_start) - 1
        video = _overlap(group.keys, videos)
        own = _overlap(group.keys, [videos[place]]) if place >= 0 else 0
        text_pairs += rows * (group.num_keys - video)
        own_pairs += rows * own
        fixed_pairs += rows * (video - own)
        groups.append((rows, group.num_keys))
    routed, links, scored = routed_of(layout, config)
    ends = [(layout.global_text, layout.global_text)]
    ends += [(b - a, b) for a, b in (layout.token_range(number) for number in layout.shot_numbers)]
    return Counts(
        tokens=layout.length,
        video_tokens=sum(b - a for a, b in videos),
        chunks=layout.num_video_chunks,
        text_pairs=text_pairs,
        own_pairs=own_pairs,
        routed_pairs=routed + fixed_pairs,
        links=links,
        scored=scored,
        backward_pairs=sum(rows * end for rows, end in ends),
        mandatory_groups=tuple(groups),
    )


def _overlap(keys: Sequence[tuple[int, int]], ranges: Sequence[tuple[int, int]]) -> int:
    """Tokens that two ascending lists of disjoint ranges have in common."""
    common, i, j = 0, 0, 0
    while i < len(keys) and j < len(ranges):
        common += max(0, min(keys[i][1], ranges[j][1]) - max(keys[i][0], ranges[j][0]))
        if keys[i][1] < ranges[j][1]:
            i += 1
        else:
            j += 1
    return common


def routed_of(layout: TokenLayout, config: MoCConfig, q_range: tuple[int, int] | None = None) -> tuple[float, int, int]:
    """Routed pairs, links and scores of the rows start:stop, the whole stream when None; see `Counts`.

    The rows of a chunk share their candidates: ranks 0:limit without low:high. What is scored and picked are chunks,
    under "moc-uniform" blocks of them. "moc-block" scores once a chunk of queries and "random" never.
    """
    import torch

    from moc.candidates import candidates_of

    candidates = candidates_of(layout, config, None, torch.device("cpu"))
    edges = layout.chunk_edges()
    first = torch.tensor(edges[:-1], dtype=torch.int64, device="cpu")
    table = [getattr(candidates, name)[first].tolist() for name in ("limit", "low", "high")]
    start, stop = (0, layout.length) if q_range is None else q_range
    sizes = [max(0, min(b, stop) - max(a, start)) for a, b in pairwise(edges)]
    lengths = layout.chunk_bounds.diff().cpu()
    until = [0, *accumulate(lengths[~layout.chunk_is_text.cpu()].tolist())]
    block = layout.blocks.tolist() if layout.even is not None else list(range(layout.num_video_chunks))
    pairs, links, scored = 0.0, 0, 0
    for rows, limit, low, high in zip(sizes, *table, strict=True):
        admissible = len({*block[:low], *block[high:limit]}) if layout.even is not None else limit - (high - low)
        if rows == 0 or config.top_k == 0 or admissible == 0:
            continue
        picked = min(config.top_k, admissible)
        tokens = until[limit] - (until[high] - until[low])
        pairs += rows * picked * tokens / admissible
        links += rows * picked
        if config.pattern == "moc-block":
            scored += limit
        elif config.pattern != "random":
            scored += rows * (admissible if layout.even is not None else limit)
    return pairs, links, scored


def routed_pairs_of(routing: Routing, layout: TokenLayout) -> float:
    """Pairs of a real routing over the whole stream, the mean over batch rows and heads."""
    batch, heads = routing.indices.shape[:2]
    links = routing.counts(layout).sum((0, 1)).cpu()
    return float((links * layout.chunk_bounds.cpu().diff()).sum()) / (batch * heads)


def flops(counts: Counts, head_dim: int, *, heads: int = 1, layers: int = 1, backward: bool = False) -> Flops:
    """FLOPs of these pairs.

    Args:
        counts: pairs of one head and layer.
        head_dim: d.
        heads, layers: how often the pairs are attended.
        backward: the backward pass, too: five products a pair more; pooling and routing have none.
    """
    times = float(head_dim * heads * layers)
    pair = times * (FLOPS_PER_PAIR + (FLOPS_PER_PAIR_BACKWARD if backward else 0))
    routes = counts.scored > 0
    return Flops(
        pool=times * counts.tokens if routes else 0.0,
        route=times * FLOPS_PER_SCORE * counts.scored,
        text=pair * counts.text_pairs,
        own=pair * counts.own_pairs,
        routed=pair * counts.routed_pairs,
        dense=pair * counts.dense_pairs,
    )


@dataclass(frozen=True)
class Chip:
    """What decides which bytes come from the cache; by default an H200, so that counts need no device.

    Attributes:
        l2_bytes: size of the L2 cache; infinite where every byte is to be read once, the least that must move.
        multiprocessors: how many tiles of `QUERY_TILE` queries dense attention works on at once.
    """

    l2_bytes: float = 50e6
    multiprocessors: int = 132

    @property
    def kept(self) -> float:
        """Bytes of one tensor that stay: half of L2, since what else is read and written passes through it, too."""
        return self.l2_bytes / 2

    def rounds(self, queries: int, key_bytes: float) -> float:
        """How often dense attention fetches keys and values: once, or for every wave of tiles where they don't stay."""
        return 1.0 if key_bytes <= self.kept else max(1.0, queries / (QUERY_TILE * self.multiprocessors))


H200 = Chip()


@dataclass(frozen=True)
class Traffic:
    """Bytes that each part moves between memory and chip: inputs, results, and what the cache is too small to keep."""

    pool: float
    route: float
    plan: float
    own: float
    routed: float
    merge: float
    dense: float

    @property
    def total(self) -> float:
        """All of MoC."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, float]:
        """Bytes of each part of MoC."""
        return {name: value for name, value in asdict(self).items() if name != "dense"}


def traffic(
    counts: Counts, head_dim: int, *, itemsize: int, heads: int = 1, layers: int = 1, chip: Chip = H200
) -> Traffic:
    """Bytes of one forward pass.

    With r = d x `itemsize` bytes a token, per head and layer:

        pool    reads the keys, writes a descriptor a chunk                              (L + C) r
        route   reads video queries and descriptors, writes an index a link              (V + C) r + 4 n
        plan    reads the indices, writes their order; for each block of 1,024 links
                and each chunk a count, a start and a sum                                8 n + 12 C ceil(n / 1024)
        own     reads queries and every group's keys and values, text included;
                writes outputs and a log-sum-exp a row                                   L r + 2 K r + L (r + 4)
        routed  reads the links' query rows and places, all video keys and values;
                writes a row and a log-sum-exp a link                                    m r + n (r + 8) + 2 V r
        merge   reads those, the indices and the own result; writes the output           n (r + 8) + 2 L (r + 4)
        dense   reads queries, keys, values; writes outputs and log-sum-exps             L r + 2 w L r + L (r + 4)

    L tokens, V video tokens, C chunks, n links; `chip.kept` bytes of a tensor stay in L2. Three numbers depend on that:

    - m, query rows of the routed part. The first read of each of min(n, V) rows misses. Links are worked on chunk after
      chunk, so a row comes back when most others of its head have passed by, and is still there with the probability
      kept / (V r): m = min(n, V) + (n - min(n, V)) max(0, 1 - kept / (V r)).
    - w, rounds of dense attention over keys and values. Tiles of 128 queries, one a multiprocessor, go through the keys
      side by side, and share them. Where 2 L r > kept, the next wave of tiles finds them gone:
      w = L / (128 x multiprocessors), at least 1; otherwise w = 1.
    - K, keys summed over the groups of the own part, each times its w by its own queries and keys.

    What lies between two kernels of the plan (links sorted within a block) is taken to stay. Against the counters of an
    H200, every part is within 20 % (docs/profile.md).
    """
    times = heads * layers
    row, lse = head_dim * itemsize, 4
    length, video, chunks, links = counts.tokens, counts.video_tokens, counts.chunks, counts.links
    routes = counts.links > 0
    result = length * (row + lse)
    first = min(links, video)
    gone = max(0.0, 1 - chip.kept / (video * row)) if routes else 0.0
    own_keys = sum(keys * chip.rounds(rows, 2 * keys * row) for rows, keys in counts.mandatory_groups)
    return Traffic(
        pool=times * routes * (length + chunks) * row,
        route=times * routes * ((video + chunks) * row + links * 4),
        plan=times * (links * 8 + 12 * chunks * -(-links // LINKS_SORTED_AT_ONCE)),
        own=times * (length * row + 2 * own_keys * row + result),
        routed=times * (routes * 2 * video * row + (first + (links - first) * gone) * row + links * (row + lse + 4)),
        merge=times * routes * (links * (row + lse + 4) + 2 * result),
        dense=times * (length * row + 2 * length * row * chip.rounds(length, 2 * length * row) + result),
    )
