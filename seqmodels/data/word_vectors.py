"""Word vectors from raw text: factorized counts of neighboring words."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.sparse import linalg

from seqmodels.arrays import as_labels
from seqmodels.data.word_features import PAD, UNKNOWN

SMOOTHING = 0.75  # exponent of the contexts' distribution


def ppmi_vectors(
    rows: Sequence[np.ndarray], num_words: int, size: int, *, window: int = 5
) -> np.ndarray:
    """Returns vectors of words by a singular value decomposition of their PPMI matrix.

    n(w, c) counts each pair of words at most `window` apart by one over its distance, in both
    directions. M(w, c) = max(log n(w, c) Z / (n(w) n(c)^0.75), 0) with Z = sum_c n(c)^0.75. With M
    ~ U S V^T, the vector of w is row w of U S^0.5, minus the mean of all rows, scaled to a length
    of sqrt(D). Levy, Goldberg, Dagan 2015, "Improving Distributional Similarity with Lessons
    Learned from Word Embeddings", TACL 3.

    Args:
      rows: texts as word numbers, int (T_i,); 0 and 1 (padding and unknown words) have no vector,
        but count in distances.
      num_words: V.
      size: D, less than V.
      window: the largest distance of two words that count as neighbors.

    Returns:
      float32 (V, D), zeros for words that have no vector.

    Raises:
      ValueError: if size is not in 1..V-1, window is not positive, or a word number is not an
        integer below V. Also if no two words are neighbors more often than by chance.
    """
    rows = [as_labels("rows", row) for row in rows]
    largest = max((int(row.max()) for row in rows if row.size), default=0)
    if largest >= num_words:
        raise ValueError(f"rows: got word {largest}, expected numbers below {num_words}")
    if not 1 <= size < num_words:
        raise ValueError(f"size: got {size} for {num_words} words, expected 1..{num_words - 1}")
    if window < 1:
        raise ValueError(f"window: got {window}, expected a positive number")
    counts = _counts(rows, num_words, window)
    if not counts.nnz:
        raise ValueError("rows: got no two neighboring words, expected texts")
    word_counts = np.asarray(counts.sum(axis=1)).ravel()
    contexts = word_counts**SMOOTHING
    expected = word_counts[counts.row] * contexts[counts.col] / contexts.sum()
    information = np.log(counts.data / expected)
    kept = information > 0
    if not kept.any():
        raise ValueError(
            "rows: got no two words that stand together more often than by chance, expected texts "
            "with more of them"
        )
    matrix = sparse.csr_matrix(
        (information[kept].astype(np.float32), (counts.row[kept], counts.col[kept])),
        shape=counts.shape,
    )
    # A fixed start, because the default is random.
    try:
        left, values, _ = linalg.svds(matrix, k=size, v0=np.ones(num_words, np.float32))
    except linalg.ArpackError as error:
        raise ValueError(f"size: got {size}, expected fewer for these texts: {error}") from None
    is_nonempty = np.diff(matrix.indptr) > 0
    vectors = left * np.sqrt(values)
    vectors -= vectors[is_nonempty].mean(axis=0)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors *= np.sqrt(size) / np.maximum(lengths, np.finfo(np.float32).tiny)
    return np.where(is_nonempty[:, None], vectors, 0).astype(np.float32)


def _counts(rows: Sequence[np.ndarray], num_words: int, window: int) -> sparse.coo_matrix:
    gap = np.full(window, PAD)
    flat = np.concatenate([part for row in rows for part in (row, gap)] or [gap])
    counts = sparse.csr_matrix((num_words, num_words))
    for distance in range(1, window + 1):
        first, second = flat[:-distance], flat[distance:]
        kept = (np.minimum(first, second) > max(PAD, UNKNOWN)).nonzero()[0]
        ones = np.full(len(kept), 1 / distance)
        places = (first[kept], second[kept])
        counts += sparse.coo_matrix((ones, places), shape=counts.shape).tocsr()
    return (counts + counts.T).tocoo()
