"""Merkle trees: RFC 6962 2.1, RFC 9162 2.1.3.2 and 2.1.4.2, docs/log-format.md, "Tree, tiles, bundles"."""

from strict import need, sha


def leaf(entry):
    return sha(b"\0", entry)


class Tree:
    """A tree that grows: the roots of its perfect subtrees, largest first."""

    def __init__(self, size=0, peaks=()):
        need(bin(size).count("1") == len(peaks), "frontier: not one root for each perfect subtree")
        self.size, self.peaks = size, list(peaks)

    def add(self, node):
        carry = self.size
        while carry & 1:
            node, carry = sha(b"\1", self.peaks.pop(), node), carry >> 1
        self.peaks.append(node)
        self.size += 1

    def root(self):
        if not self.peaks:
            return sha()
        out = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            out = sha(b"\1", peak, out)
        return out


def included(node, index, size, path, root):
    """RFC 9162, 2.1.3.2."""
    need(index < size, f"index {index} is not below size {size}")
    fn, sn = index, size - 1
    for step in path:
        need(sn > 0, "inclusion proof: too long")
        if fn & 1 or fn == sn:
            node = sha(b"\1", step, node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = sha(b"\1", node, step)
        fn, sn = fn >> 1, sn >> 1
    need(sn == 0 and node == root, f"inclusion proof of {index} does not lead to the root")


def consistent(first, first_root, second, second_root, path):
    """RFC 9162, 2.1.4.2."""
    need(first <= second, "consistency proof: the first tree is larger")
    if first in (0, second):
        need(not path and (first == 0 or first_root == second_root), "consistency proof: roots of one size differ")
        return
    path = list(path) if first & (first - 1) else [first_root, *path]
    need(path, "consistency proof: empty")
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for step in path[1:]:
        need(sn > 0, "consistency proof: too long")
        if fn & 1 or fn == sn:
            fr, sr = sha(b"\1", step, fr), sha(b"\1", step, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = sha(b"\1", sr, step)
        fn, sn = fn >> 1, sn >> 1
    need(sn == 0 and fr == first_root and sr == second_root, "the trees are not consistent")
