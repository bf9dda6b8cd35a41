"""What of kept prompts is found, what it costs, and what goes first."""

from hypothesis import given
from hypothesis import strategies as st

from services.inference.engine.prefix_tree import Block, PrefixTree, keys_of

ROOT = b"root"
LENGTH = 4


def keep(tree: PrefixTree[None], tokens: list[int], root: bytes = ROOT) -> None:
    """Add all whole blocks of a prompt, ten bytes each, as the cache does."""
    keys = keys_of(root, tokens, LENGTH)
    known = len(tree.chain(root, tokens))
    parent = keys[known - 1] if known else root
    room = tree.room_for(10 * (len(keys) - known), parent)
    for n, key in enumerate(keys[known : known + room // 10], known):
        run = tokens[n * LENGTH : (n + 1) * LENGTH]
        tree.add(Block(key, parent, run, None, 10))
        parent = key


def found(tree: PrefixTree[None], tokens: list[int], root: bytes = ROOT) -> int:
    return sum(len(block.tokens) for block in tree.chain(root, tokens))


def test_the_longest_kept_beginning_is_found_block_by_block() -> None:
    tree = PrefixTree[None](1000, LENGTH)
    keep(tree, list(range(11)))
    assert found(tree, list(range(11))) == 8
    assert found(tree, [*range(4), 9, 9, 9, 9]) == 4
    assert found(tree, list(range(1, 11))) == 0
    assert found(tree, list(range(11)), b"other root") == 0


def test_the_nearest_block_is_shared_token_by_token() -> None:
    tree = PrefixTree[None](1000, LENGTH)
    keep(tree, list(range(8)))
    parent = keys_of(ROOT, [0, 1, 2, 3], LENGTH)[0]
    near = tree.nearest(parent, [4, 5, 6, 99])
    assert near is not None
    assert (near[0].tokens, near[1]) == ([4, 5, 6, 7], 3)
    near = tree.nearest(parent, [4, 99, 6, 7])
    assert near is not None and near[1] == 1, "behind what is used anyway, each token counts"
    assert tree.nearest(ROOT, [0, 99, 2, 3]) is None, "less than half a block, and nothing else"
    assert tree.nearest(parent, []) is None
    assert tree.nearest(b"nowhere", [4, 5, 6]) is None


def test_the_end_of_a_chain_may_be_shorter_until_a_longer_one_begins_with_it() -> None:
    tree = PrefixTree[None](1000, LENGTH)
    keep(tree, [0, 1, 2, 3])
    (parent,) = keys_of(ROOT, [0, 1, 2, 3], LENGTH)

    def end(*run: int) -> None:
        tree.add(Block(keys_of(parent, list(run), len(run))[0], parent, list(run), None, len(run)))

    end(4, 5)
    end(4, 9)
    assert tree.holds(parent, [4, 5]) and tree.holds(parent, [4])
    assert not tree.holds(parent, [4, 5, 6])
    end(4, 5, 6, 7)
    assert (tree.counts.blocks, tree.counts.bytes) == (3, 10 + 2 + 4)
    assert tree.chain(ROOT, list(range(8)))[-1].tokens == [4, 5, 6, 7]


def test_a_conversation_that_goes_on_shares_nothing_with_itself() -> None:
    tree = PrefixTree[None](1000, LENGTH)
    keep(tree, list(range(8)))
    parent = keys_of(ROOT, [0, 1, 2, 3], LENGTH)[0]
    for wholly in ([4, 5, 6, 7], [4, 99]):
        assert (near := tree.nearest(parent, wholly)) and not near[0].shared
    assert (near := tree.nearest(parent, [4, 5, 99])) and near[0].shared


def test_a_common_beginning_takes_its_bytes_once() -> None:
    tree = PrefixTree[None](1000, LENGTH)
    keep(tree, [*range(8), 1, 1, 1, 1])
    keep(tree, [*range(8), 2, 2, 2, 2])
    assert (tree.counts.blocks, tree.counts.bytes) == (4, 40)


def test_what_nobody_used_lately_goes_first_and_from_its_end() -> None:
    tree = PrefixTree[None](60, LENGTH)
    old, new, third = ([n] * 12 for n in (1, 2, 3))
    keep(tree, old)
    keep(tree, new)
    assert found(tree, old) == 12
    keep(tree, third[:8])
    assert [found(tree, prompt) for prompt in (old, new, third)] == [12, 4, 8]


def test_a_shared_beginning_outlives_conversations_that_came_later() -> None:
    tree = PrefixTree[None](100, LENGTH)
    system = list(range(16))
    keep(tree, [*system, 50, 50, 50, 50])
    keep(tree, [*system, 60, 60, 60, 60])
    for n in range(100, 120):
        keep(tree, [n] * 12)
    assert found(tree, system) == 16


def test_shared_beginnings_do_not_crowd_out_all_others() -> None:
    tree = PrefixTree[None](100, LENGTH)
    for n in range(10):
        keep(tree, [*[n] * 8, 50, 50, 50, 50])
        keep(tree, [*[n] * 8, 60, 60, 60, 60])
    for n in range(100, 103):
        keep(tree, [n] * 12)
    assert found(tree, [102] * 12) == 12


def test_a_prompt_larger_than_the_cache_keeps_its_beginning() -> None:
    tree = PrefixTree[None](40, LENGTH)
    keep(tree, [7] * 8)
    keep(tree, list(range(100)))
    assert found(tree, list(range(100))) == 16
    assert tree.counts.bytes == 40


def test_clearing_forgets_blocks_and_keeps_the_counts_of_use() -> None:
    tree = PrefixTree[None](1000, LENGTH)
    keep(tree, list(range(8)))
    tree.looked(8)
    tree.looked(0)
    before = tree.clear()
    assert (before.blocks, before.bytes) == (2, 20)
    counts = tree.counts
    assert (counts.blocks, counts.bytes) == (0, 0)
    assert (counts.hits, counts.misses, counts.tokens_reused) == (1, 1, 8)
    assert found(tree, list(range(8))) == 0


@given(st.lists(st.lists(st.integers(0, 2), max_size=24), max_size=30), st.integers(0, 120))
def test_the_bound_holds_and_every_block_has_its_parent(
    prompts: list[list[int]], limit: int
) -> None:
    tree = PrefixTree[None](limit, LENGTH)
    for prompt in prompts:
        keep(tree, prompt)
        assert tree.counts.bytes == 10 * tree.counts.blocks <= limit
        assert found(tree, prompt) <= len(prompt)
        kept = [key for p in prompts for key in keys_of(ROOT, p, LENGTH) if key in tree]
        assert len(set(kept)) == tree.counts.blocks
        assert all(
            (block := tree.get(k)) and (block.parent in tree or block.parent == ROOT) for k in kept
        )
