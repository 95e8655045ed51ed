"""Slow, loop-written versions of the layers, from the formulas of Li et al. (CIKM 2019), in double precision.

Everything is plain Python (numpy only rounds to float32): vectors are lists of floats, batches are lists. They are
here to be read and compared with, so each follows its formula and nothing else. None of them shares a line with the
package.
"""

from __future__ import annotations

import math

import numpy as np


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def softmax(logits):
    top = max(logits)
    exponentials = [math.exp(logit - top) for logit in logits]
    return [e / sum(exponentials) for e in exponentials]


def logsumexp(logits):
    top = max(logits)
    return top + math.log(sum(math.exp(logit - top) for logit in logits))


def mean(vectors):
    return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]


# -- routing -----------------------------------------------------------------------------------------------------------


def squash(z):
    """|z|²/(1+|z|²) · z/|z|."""
    length = math.sqrt(dot(z, z))
    if length == 0:
        return [0.0] * len(z)
    return [length**2 / (1 + length**2) * x / length for x in z]


def interest_count(history_length, num_interests):
    """K' = max(1, min(K, floor(log2 |I|))), the logarithm counted in halvings."""
    logarithm, rest = 0, history_length
    while rest > 1:
        rest //= 2
        logarithm += 1
    return max(1, min(num_interests, logarithm))


def votes(behaviors, S, scale=None):
    """ê_j = S e_j, of behaviours that are brought to the length ``scale`` first where one is given."""
    result = []
    for behavior in behaviors:
        if scale is not None:
            length = math.sqrt(dot(behavior, behavior))
            behavior = [scale * x / length for x in behavior]
        result.append([dot(row, behavior) for row in S])
    return result


def couple(logits, softmax_over, recency=1.0):
    """Coupling coefficients w [K'][J] of ``logits`` [K'][J], one user's active interests and real behaviours.

    ``recency`` is γ, or the weights of places, newest first: of all interests [[L]], or of each [K][L].
    """
    if softmax_over == "behaviors":
        shares = [softmax(row) for row in logits]
    else:
        columns = [softmax(column) for column in zip(*logits, strict=True)]
        shares = [list(row) for row in zip(*columns, strict=True)]
    return [
        [share * weight(recency, k, len(row) - 1 - j) for j, share in enumerate(row)] for k, row in enumerate(shares)
    ]


def weight(recency, k, after):
    """What a behaviour with ``after`` others after it counts for interest k."""
    return recency[k % len(recency)][after] if isinstance(recency, list) else recency**after


def capsules(coupling, behavior_votes):
    """u_k = squash(Σ_j w_kj ê_j)."""
    size = len(behavior_votes[0])
    interests = []
    for weights in coupling:
        z = [0.0] * size
        for weight, vote in zip(weights, behavior_votes, strict=True):
            for d in range(size):
                z[d] += weight * vote[d]
        interests.append(squash(z))
    return interests


def cosine(a, b):
    lengths = math.sqrt(dot(a, a) * dot(b, b))
    return dot(a, b) / lengths if lengths else 0.0


def seeds(vectors, number):
    """Indices of ``number`` vectors, each the one that most raises Σ_j max over the chosen of the cosine.

    Ties are common (of two behaviours, and of any two that form a cluster, either is as good) and go to the first;
    sums that agree but for rounding are ties.
    """
    chosen = []
    for _ in range(number):
        reached = [
            sum(max(cosine(vectors[seed], other) for seed in [*chosen, candidate]) for other in vectors)
            for candidate in range(len(vectors))
        ]
        chosen.append(next(j for j, total in enumerate(reached) if total > max(reached) - 1e-5))
    return chosen


def route(behaviors, S, logits, *, iterations, softmax_over, init="random", scale=None, recency=1.0, whole=None):
    """Interests [K'][D] and coupling [K'][J] of one user's J real behaviours; ``logits`` is [K'][J].

    The coupling is told with the mean of the curves, 1 at most, and without ``whole`` [K], which is what each interest
    takes of every behaviour beside that, in the end.
    """
    behavior_votes = votes(behaviors, S, scale)
    logits = [list(row) for row in logits]
    if init == "kmeans++":
        for k, seed in enumerate(seeds(behavior_votes, len(logits))):
            for j, vote in enumerate(behavior_votes):
                logits[k][j] += (scale or 1.0) * cosine(behavior_votes[seed], vote)
    for iteration in range(iterations):
        coupling = couple(logits, softmax_over, recency)
        interests = capsules(coupling, behavior_votes)
        if iteration < iterations - 1:
            for k, interest in enumerate(interests):
                for j, vote in enumerate(behavior_votes):
                    logits[k][j] += dot(interest, vote)
    shares = couple(logits, softmax_over)
    if whole is not None:
        taken = [
            [(share + whole[k]) * weight(recency, k, len(row) - 1 - j) for j, share in enumerate(row)]
            for k, row in enumerate(shares)
        ]
        interests = capsules(taken, behavior_votes)
    curves = len(recency) if isinstance(recency, list) else 1
    means = [
        sum(weight(recency, c, len(behaviors) - 1 - j) for c in range(curves)) / curves for j in range(len(behaviors))
    ]
    coupling = [[share * mean / max(means) for share, mean in zip(row, means, strict=True)] for row in shares]
    return interests, coupling


def route_batch(
    behaviors,
    lengths,
    S,
    logits,
    *,
    iterations,
    softmax_over,
    adaptive,
    init="random",
    scale=None,
    recency=1.0,
    whole=None,
):
    """Padded interests [B][K][D] and coupling [B][K][L]; ``behaviors`` is [B][L][D] and ``logits`` [B][K][L]."""
    all_interests, all_coupling = [], []
    for user_behaviors, length, user_logits in zip(behaviors, lengths, logits, strict=True):
        K, L, D = len(user_logits), len(user_behaviors), len(user_behaviors[0])
        interests, coupling = [[0.0] * D for _ in range(K)], [[0.0] * L for _ in range(K)]
        if length:
            active = interest_count(length, K) if adaptive else K
            start = [row[:length] for row in user_logits[:active]]
            options = {"iterations": iterations, "softmax_over": softmax_over, "init": init, "scale": scale}
            routed = route(user_behaviors[:length], S, start, **options, recency=recency, whole=whole)
            for k in range(active):
                interests[k] = routed[0][k]
                coupling[k][:length] = routed[1][k]
        all_interests.append(interests)
        all_coupling.append(coupling)
    return all_interests, all_coupling


# -- ComiRec (Cen et al., KDD 2020) ------------------------------------------------------------------------------------


def pool(behaviors, inner, outer, positions=None):
    """Interests [K][D] and weights [K][J] of one user's J real behaviours: softmax_j(W_2' tanh(W_1 (e_j + P_j))).

    ``inner`` is W_1 and ``outer`` the transpose of W_2; the sum is of the behaviours without P.
    """
    logits = []  # [J][K]
    for j, behavior in enumerate(behaviors):
        placed = [x + y for x, y in zip(behavior, positions[j], strict=True)] if positions else behavior
        hidden = [math.tanh(dot(row, placed)) for row in inner]
        logits.append([dot(row, hidden) for row in outer])
    weights = [softmax(column) for column in zip(*logits, strict=True)]
    size = len(behaviors[0])
    interests = [[sum(w * e[d] for w, e in zip(row, behaviors, strict=True)) for d in range(size)] for row in weights]
    return interests, weights


def route_mapped(behaviors, maps, *, iterations, scale=None, gap=math.inf):
    """Interests [K][D] and coupling [K][J] of one user's J real behaviours; ``maps`` [J][K] holds matrices.

    Logits start at zero; those of one behaviour are kept within ``gap`` of its largest.
    """
    all_votes = []  # [J][K][D]
    for behavior, own in zip(behaviors, maps, strict=True):
        if scale is not None:
            length = math.sqrt(dot(behavior, behavior))
            behavior = [scale * x / length for x in behavior]
        all_votes.append([[dot(row, behavior) for row in matrix] for matrix in own])
    logits = [[0.0] * len(maps[0]) for _ in behaviors]  # [J][K]
    for iteration in range(iterations):
        coupling = [softmax([max(b, max(row) - gap) for b in row]) for row in logits]
        interests = []
        for k in range(len(maps[0])):
            weighted = [[c[k] * x for x in vote[k]] for c, vote in zip(coupling, all_votes, strict=True)]
            interests.append(squash([sum(column) for column in zip(*weighted, strict=True)]))
        if iteration < iterations - 1:
            for row, vote in zip(logits, all_votes, strict=True):
                for k, interest in enumerate(interests):
                    row[k] += dot(interest, vote[k])
    return interests, [list(row) for row in zip(*coupling, strict=True)]


# -- attention and scores ----------------------------------------------------------------------------------------------


def attention_weights(scores, active, *, p, form, temperature):
    """Weights of one user's interests; ``scores`` and ``active`` are [K]."""
    kept = [k for k, is_active in enumerate(active) if is_active]
    if p == 0:
        values = [1 / len(kept)] * len(kept)
    elif p == math.inf:
        best = max(kept, key=lambda k: scores[k])
        values = [float(k == best) for k in kept]
    elif form == "pow":
        values = softmax([math.copysign(abs(scores[k]) ** p, scores[k]) for k in kept])
    else:
        values = softmax([p * scores[k] / temperature for k in kept])
    weights = [0.0] * len(scores)
    for k, value in zip(kept, values, strict=True):
        weights[k] = value
    return weights


def attend(interests, active, label, *, p, form, temperature):
    """The user vector Σ_k w_k v_k of one user and one label."""
    scores = [dot(interest, label) for interest in interests]
    weights = attention_weights(scores, active, p=p, form=form, temperature=temperature)
    return [sum(w * interest[d] for w, interest in zip(weights, interests, strict=True)) for d in range(len(label))]


def max_score(interests, active, item):
    """Eq. 3: the largest v_k·e_i over the active interests."""
    return max(dot(interest, item) for interest, is_active in zip(interests, active, strict=True) if is_active)


# -- item vectors and profiles -----------------------------------------------------------------------------------------


def feature_vector(table, values):
    """Mean embedding of the values that are there (0 is missing); None without any. A token is a list of one."""
    present = [table[value] for value in values if value != 0]
    return mean(present) if present else None


def item_vector(id_embedding, features):
    """Mean of the id's embedding and of the features the item has; ``features`` are pairs of table and values."""
    vectors = [feature_vector(table, values) for table, values in features]
    return mean([id_embedding, *(vector for vector in vectors if vector is not None)])


def profile(features, size):
    """The user's feature vectors one after the other, zeros for a missing one."""
    joined = []
    for table, values in features:
        vector = feature_vector(table, values)
        joined += vector if vector is not None else [0.0] * size
    return joined


# -- losses ------------------------------------------------------------------------------------------------------------


def meets(user, target, met, item, items):
    """The product of an item with the user's vector, or with the nearest of ``met`` if it is not the target."""
    if met is None or item == target:
        return dot(user, items[item])
    return max(dot(vector, items[item]) for vector in met)


def full_softmax(users, items, targets, *, temperature, met=None):
    """Mean of -log softmax over items 1 .. N-1 at the target; ``met`` [B][any number][D]."""
    total = 0.0
    for row, (user, target) in enumerate(zip(users, targets, strict=True)):
        own = met and met[row]
        scores = [meets(user, target, own, item, items) / temperature for item in range(1, len(items))]
        total += logsumexp(scores) - scores[target - 1]
    return total / len(users)


def sampled_softmax(users, items, targets, negative_ids, *, temperature, log_q, form, met=None):
    """The same over the target and its negatives; ``negative_ids`` [B][n] or shared [n].

    Form ``nce``: each logit less its log Q; ``softmax``: those of negatives less the logarithm of n Q.
    """
    total = 0.0
    for row, (user, target) in enumerate(zip(users, targets, strict=True)):
        own = negative_ids[row] if isinstance(negative_ids[0], list) else negative_ids
        candidates = [target] + [item for item in own if item != target]
        scores = [meets(user, target, met and met[row], item, items) for item in candidates]
        less = [log_q[i] + (math.log(len(own)) if form == "softmax" else 0.0) for i in candidates]
        less[0] *= form == "nce"
        logits = [score / temperature - own for score, own in zip(scores, less, strict=True)]
        total += logsumexp(logits) - logits[0]
    return total / len(users)


def bpr(users, items, targets, negative_ids, *, temperature, met=None):
    """Mean of -log sigmoid(s+ - s-)."""
    terms = []
    for row, (user, target, own) in enumerate(zip(users, targets, negative_ids, strict=True)):
        for negative in own:
            other = max(dot(vector, items[negative]) for vector in met[row]) if met else dot(user, items[negative])
            difference = (dot(user, items[target]) - other) / temperature
            terms.append(math.log1p(math.exp(-difference)))
    return sum(terms) / len(terms)


# -- diagnostics -------------------------------------------------------------------------------------------------------


def pairwise_cosines(interests, active):
    """Cosines of every two active interests of one user."""
    kept = [interest for interest, is_active in zip(interests, active, strict=True) if is_active]
    return [cosine(a, b) for i, a in enumerate(kept) for b in kept[i + 1 :]]


# -- retrieval ---------------------------------------------------------------------------------------------------------


def retrieve(items, interests, active, n, exclude=None, allowed=None):
    """Ids, scores and interests, each [B][n], of the n items with the largest max over the active k of v_k·e_i.

    A product is the float32 nearest to the sum. Of equal interests the first counts, of equal items the lower id.
    """
    ids, scores, origins = [], [], []
    for user, (vectors, is_active) in enumerate(zip(interests, active, strict=True)):
        candidates = []
        for i, item in enumerate(items):
            if (exclude is not None and i in exclude[user]) or (allowed is not None and i not in allowed):
                continue
            best, origin = -math.inf, -1
            for k, vector in enumerate(vectors):
                if is_active[k]:
                    score = float(np.float32(math.fsum(v * e for v, e in zip(vector, item, strict=True))))
                    if score > best:
                        best, origin = score, k
            if origin >= 0:
                candidates.append((best, i, origin))
        candidates.sort(key=lambda candidate: (-candidate[0], candidate[1]))
        candidates = candidates[:n] + [(-math.inf, -1, -1)] * (n - len(candidates))
        ids.append([i for _, i, _ in candidates])
        scores.append([score for score, _, _ in candidates])
        origins.append([origin for _, _, origin in candidates])
    return ids, scores, origins
