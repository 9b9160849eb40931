"""The two sets of images that the distances of `tools/goldens/fid_peers.py` are of."""

import rule


def images():
    """Two lists of six uint8 images each; the first smaller than 299 x 299, the second larger."""
    small, large = rule.images(128, 6), rule.images(420, 6)[:, :360]
    return list(small[:, :, :100]), list(large)
