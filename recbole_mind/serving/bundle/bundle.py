"""A trained model as one folder that recalls: encoder, item index, raw tokens, popularity and preprocessing.

Made by :mod:`recbole_mind.export`; opened here without RecBole, torch or pickle. The files, beside ``manifest.json``:

- ``encoder.onnx``: interests from the behaviours' vectors and a profile;
- ``index/``: item vectors, which also are the behaviours', and FAISS's index (:mod:`recbole_mind.retrieval.storage`);
- ``norms.npy`` ``[N]``: lengths that the behaviours' vectors have and the index's, brought to unit length, have not;
- ``counts.npy`` ``[N]`` and ``popularity.npy`` ``[N]``: interactions of each item in training, and rows by them;
- ``tokens/``: raw tokens of items, users and features (:mod:`recbole_mind.serving.bundle.token_index`);
- ``profile/``: embeddings of the user's features and each known user's values;
- ``categories/``: values of item features, for diversity;
- ``ranker.onnx`` and ``ranker/``: the second stage, where there is one (:mod:`recbole_mind.serving.bundle.ranker`).

A bundle of another kind (``kind`` in the manifest) has no encoder and no index: one of item-to-item lists has
``lists/`` (:mod:`recbole_mind.serving.bundle.item_to_item`), one of popularity alone has the above.

An item's row in the index is its row in ``tokens/items`` and its id in RecBole less one: RecBole's item 0 is padding.

Shape legend: N items, U users, V values of a feature, M values at once, D embedding size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from recbole_mind.config import specification
from recbole_mind.errors import InputError, require
from recbole_mind.retrieval.index import MultiVectorIndex
from recbole_mind.retrieval.storage import training_of
from recbole_mind.retrieval.types import Floats
from recbole_mind.serving.bundle import sealed_folder
from recbole_mind.serving.bundle.encoder import Encoder
from recbole_mind.serving.bundle.item_to_item import ItemLists
from recbole_mind.serving.bundle.manifest import INTERESTS, ITEM_TO_ITEM, Feature, Manifest
from recbole_mind.serving.bundle.ranker import Ranker
from recbole_mind.serving.bundle.sealed_folder import write
from recbole_mind.serving.bundle.token_index import TokenIndex
from recbole_mind.util.arrays import open_array

_LONGEST = 1000  # characters of what a bundle says of itself in a refusal

Part = TypeVar("Part")

__all__ = ["Bundle", "ProfileFeature", "read", "verify", "write"]


def read(folder: str | Path) -> dict[str, Any]:
    """The manifest of a bundle; see :func:`recbole_mind.serving.bundle.sealed_folder.read`.

    Raises:
        InputError: it is not whole, or its parts are of two trainings.
    """
    return _of_one_training(Path(folder), sealed_folder.read(folder))


def verify(folder: str | Path) -> dict[str, Any]:
    """The manifest of a bundle whose every byte is checked; see ``sealed_folder.verify``.

    Raises:
        InputError: a byte was changed, or its parts are of two trainings.
    """
    return _of_one_training(Path(folder), sealed_folder.verify(folder))


def _of_one_training(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest, whose encoder and index name one training, that of the item vectors in the folder.

    An encoder or index may leave it open: one that was not made by :mod:`recbole_mind.export`.
    """
    parts = (manifest.get(name) for name in ("encoder", "index"))
    named = {part["training"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("training"), str)}
    found = training_of(folder / "index") if named else None
    require(named <= {found}, f"bundle '{folder}' is refused: its encoder and its index are of two trainings")
    return manifest


class ProfileFeature(NamedTuple):
    """One feature of the user.

    Attributes:
        field: its name in the data.
        several: whether a user may have several values.
        tokens: of its values; the id of a value is its row plus one.
        table: ``[V + 1, S]`` embeddings by id, 0 being missing.
        values: ``[U, M]`` ids of each known user, 0 for none.
    """

    field: str
    several: bool
    tokens: TokenIndex
    table: Floats
    values: npt.NDArray[np.int32]

    def vector(self, ids: npt.NDArray[Any]) -> Floats:
        """The mean embedding ``[S]`` of value ids, zeros without any."""
        ids = ids[ids > 0]
        total: Floats = self.table[ids].sum(0, dtype=np.float32) / np.float32(max(len(ids), 1))
        return total


@dataclass(frozen=True)
class Bundle:
    """An open bundle; see the module for what is in it.

    Attributes:
        id: the hash of all that it holds.
        norms: ``None`` where the index's vectors are the behaviours'.
        categories: item feature to values ``[N, M]``, 0 for none.
        stamps: of its files, before they were read.
    """

    folder: Path
    manifest: Manifest
    _encoder: Encoder | None
    _index: MultiVectorIndex | None
    norms: Floats | None
    item_tokens: TokenIndex
    user_tokens: TokenIndex
    counts: npt.NDArray[np.int64]
    popularity: npt.NDArray[np.int32]
    profile: tuple[ProfileFeature, ...]
    categories: Mapping[str, npt.NDArray[np.int32]]
    stamps: Mapping[str, sealed_folder.Stamp]
    _lists: ItemLists | None = None
    _ranker: Ranker | None = None

    @property
    def encoder(self) -> Encoder:
        """The user encoder.

        Raises:
            InputError: the bundle is of a kind without one.
        """
        return self._of_kind(self._encoder, "encoder")

    @property
    def index(self) -> MultiVectorIndex:
        """The index of item vectors.

        Raises:
            InputError: the bundle is of a kind without one.
        """
        return self._of_kind(self._index, "item vectors")

    @property
    def lists(self) -> ItemLists:
        """The lists of similar items.

        Raises:
            InputError: the bundle is of a kind without them.
        """
        return self._of_kind(self._lists, "lists of similar items")

    @property
    def ranker(self) -> Ranker:
        """The second stage.

        Raises:
            InputError: the bundle has none.
        """
        if self._ranker is None:
            raise InputError(f"bundle '{self.folder}' has no ranker; recbole-mind export --ranker puts one into it")
        return self._ranker

    @property
    def ranks(self) -> bool:
        """Whether there is a second stage."""
        return self._ranker is not None

    def _of_kind(self, part: Part | None, what: str) -> Part:
        if part is None:
            raise InputError(f"bundle '{self.folder}' is of {self.manifest.model.name}, which has no {what}")
        return part

    def changed(self, *, replaced: bool = False) -> str | None:
        """The name of a file that was written to since the bundle was opened, or ``None``.

        Args:
            replaced: whether another file in its place counts, too. What is open is not of it.
        """
        now = sealed_folder.stamps(self.folder, self.manifest.files)
        for name, before in self.stamps.items():
            found = now.get(name, before)
            if found != before and (replaced or found.inode == before.inode):
                return name
        return None

    @property
    def id(self) -> str:
        return self.manifest.id

    @classmethod
    def load(cls, folder: str | Path, *, verify: bool = True, threads: int | None = None) -> Bundle:
        """Open a bundle.

        Files up to :data:`~recbole_mind.util.arrays.READ_UP_TO` bytes are read; larger arrays are mapped, so that
        nobody may write to them while the bundle is open. To replace the folder, as export does, or a file in it, is no
        harm.

        Args:
            folder: that was exported.
            verify: whether to check every byte; a bundle that was checked before need not be read whole again.
            threads: of a search; FAISS's number by default.

        Raises:
            InputError: a file is missing, added, truncated, changed, of another bundle or version, or does not hold
                what it should.
        """
        folder = Path(folder)
        stamps = sealed_folder.stamps(folder, sealed_folder.read(folder)["files"])
        content = _of_one_training(folder, sealed_folder.verify(folder) if verify else sealed_folder.read(folder))
        try:
            manifest = specification.read(Manifest, content, "manifest.json")
            found = cls._open(folder, manifest, threads, stamps)
            changed = found.changed(replaced=True)
            require(changed is None, f"'{changed}' was changed while it was opened")
            return found
        except InputError as error:
            raise InputError(f"bundle '{folder}' is refused: {str(error)[:_LONGEST]}") from None

    @classmethod
    def _open(
        cls,
        folder: Path,
        manifest: Manifest,
        threads: int | None,
        stamps: Mapping[str, sealed_folder.Stamp],
    ) -> Bundle:
        N, U = manifest.data.items, manifest.data.users
        encoder, index, norms = None, None, None
        if manifest.kind == INTERESTS:
            encoder, index, norms = _interests(folder, manifest, threads)
        lists = ItemLists.open(folder / "lists", N) if manifest.kind == ITEM_TO_ITEM else None
        popularity = open_array(folder / "popularity.npy", np.int32, (N,))
        inside = N > 0 and int(popularity.min()) >= 0 and int(popularity.max()) < N
        once = inside and bool((np.bincount(popularity, minlength=N) == 1).all())
        require(once, "'popularity.npy' does not hold each item once")
        ranker, K = None, manifest.interests.K
        if manifest.ranker is not None:
            require(manifest.kind == INTERESTS, "a ranker goes with an encoder and an index")
            ranker = Ranker.open(folder, manifest.ranker, N, K, training_of(folder / "index"))
        profile = tuple(_feature(folder, place, entry, U) for place, entry in enumerate(manifest.profile))
        return cls(
            folder,
            manifest,
            encoder,
            index,
            norms,
            TokenIndex.open(folder / "tokens", "items", N),
            TokenIndex.open(folder / "tokens", "users", U),
            open_array(folder / "counts.npy", np.int64, (N,)),
            popularity,
            profile,
            {
                field: open_array(folder / "categories" / f"{place}.npy", np.int32, (N, None))
                for place, field in enumerate(manifest.categories)
            },
            stamps,
            lists,
            ranker,
        )


def _interests(
    folder: Path, manifest: Manifest, threads: int | None
) -> tuple[Encoder, MultiVectorIndex, Floats | None]:
    """The encoder, the index and the norms of a bundle."""
    N, D = manifest.data.items, manifest.interests.D
    index = MultiVectorIndex.load(folder / "index", device="cpu", threads=threads, hashed=True)
    shape = f"the index holds {len(index)} vectors of size {index.size} instead of {N} of size {D}"
    require((len(index), index.size) == (N, D), shape)
    require(manifest.preprocessing.max_history is not None, "max_history: an encoder reads so many items of a history")
    norms = open_array(folder / "norms.npy", np.float32, (N,)) if manifest.preprocessing.norms else None
    require(norms is None or bool(np.isfinite(norms).all()), "'norms.npy' holds NaN or infinite values")
    encoder = Encoder((folder / "encoder.onnx").read_bytes())
    one = encoder.training in (None, training_of(folder / "index"))
    require(one, "encoder and index are of two trainings")
    span = manifest.preprocessing.time_span
    require(encoder.reads_gaps == (span is not None), f"the encoder does not go with time_span {span}")
    return encoder, index, norms


def _feature(folder: Path, place: int, entry: Feature, U: int) -> ProfileFeature:
    V = entry.values
    values = open_array(folder / "profile" / f"{place}.users.npy", np.int32, (U, None))
    inside = not values.size or (int(values.min()) >= 0 and int(values.max()) <= V)
    require(inside, f"'profile/{place}.users.npy' holds a value that the feature has not")
    tokens = TokenIndex.open(folder / "tokens", f"user-{place}", V)
    table = open_array(folder / "profile" / f"{place}.table.npy", np.float32, (V + 1, entry.size))
    return ProfileFeature(entry.field, entry.several, tokens, table, values)
