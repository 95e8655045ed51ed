"""What a bundle's ``manifest.json`` says: written by :mod:`recbole_mind.export`, read by ``Bundle``.

What has no default is what a bundle cannot be opened without. Keys that are not known here are left alone, so that a
bundle of a later release of the same format version opens.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from recbole_mind.config.specification import Allowed, Number, OneOf, Specification

Name = Annotated[str, Allowed("a name")]
Count = Annotated[int, Number(0, 2**31 - 1)]
Figures = dict[str, float | None]
INTERESTS, ITEM_TO_ITEM, POPULARITY = KINDS = ("interests", "item-to-item", "popularity")


class _Part(Specification):
    model_config = ConfigDict(extra="ignore")


class Model(_Part):
    """The model that was trained."""

    name: Name = Field(description="Its class, such as MIND.")
    checkpoint: str | None = Field(None, description="SHA-256 of the checkpoint's file.")
    settings: dict[str, Any] = Field({}, description="Of the model and of its training, without any folder.")


class Data(_Part):
    """The data set that it was trained on."""

    name: Name = Field(description="Of the data set.")
    items: Count = Field(description="Items of the catalogue, N.")
    untrained_items: Count | None = Field(None, description="Those without an interaction in training.")
    users: Count = Field(description="Users whose profiles are known.")
    interactions: int | None = Field(None, description="In training.")
    fingerprint: str | None = Field(None, description="SHA-256 of the file of interactions.")


class Preprocessing(_Part):
    """What becomes of a history and a profile before the encoder."""

    max_history: Annotated[int, Number(1, 2**31 - 1)] | None = Field(
        description="Items of a history that are read; null for all."
    )
    keeps: str = Field("last", description="Which ones of a longer history.")
    order: str = Field("oldest first", description="In which a history stands.")
    time_span: Annotated[float, Number(0, above=True)] | None = Field(
        None, description="From the oldest to the newest time of the training data; null where no times are read."
    )
    norms: bool = Field(description="Whether behaviours' vectors have lengths of their own, in norms.npy.")
    item_field: Name = Field(description="The data's name for items.")
    user_field: Name = Field(description="The data's name for users.")
    item_features: list[str] = Field([], description="Item features that the model uses.")
    user_features: list[str] = Field([], description="User features that the model uses.")


class Feature(_Part):
    """One feature of the user."""

    field: Name = Field(description="Its name in the data.")
    several: bool = Field(description="Whether a user may have several values.")
    values: Count = Field(description="How many values it has, V.")
    size: Count = Field(description="Of a value's embedding.")


class InterestsPart(_Part):
    """What the encoder gives."""

    K: Count = Field(description="How many interests at most; 0 for a model without.")
    D: Count = Field(description="Dimensions of an interest.")
    adaptive: bool = Field(False, description="Whether short histories have fewer.")
    similarity: str | None = Field(None, description="Between an interest and an item: cosine or dot.")


class EncoderPart(_Part):
    """``encoder.onnx``."""

    training: str | None = Field(None, description="SHA-256 of the item vectors that it was trained with.")


class Index(_Part):
    """``index/``."""

    factory: str | None = Field(None, description="exact, or FAISS's factory string.")
    metric: str | None = Field(None, description="ip or cosine.")
    parameters: dict[str, Any] = Field({}, description="Of FAISS's search.")
    training: str | None = Field(None, description="SHA-256 of the item vectors that it holds.")
    recall: float | None = Field(None, description="Share of the n best items that it finds for a sample of users.")
    n: int | None = Field(None, description="Of which so many are the best.")
    users: int | None = Field(None, description="How many users the sample has.")


class RankerPart(_Part):
    """``ranker.onnx`` and ``ranker/``."""

    history: Annotated[int, Number(1, 2**16)] = Field(description="The last items of a history that it reads.")
    width: Annotated[int, Number(1, 2**20)] = Field(description="Numbers that it reads of an item.")
    checkpoint: str | None = Field(None, description="SHA-256 of the file that it was exported from.")
    settings: dict[str, Any] = Field({}, description="Of the ranker and of its training.")
    metrics: Figures = Field({}, description="On held-out histories: ndcg@10, recall_ndcg@10, auc, pcoc, loss.")


class MetricsPart(_Part):
    """Figures of the evaluation, such as recall@10."""

    valid: Figures = Field({}, description="On the validation data.")
    test: Figures = Field({}, description="On the test data.")


class File(_Part):
    """One file of the bundle."""

    sha256: str
    bytes: int


class Contents(_Part):
    """What export says of a bundle."""

    kind: Annotated[str, OneOf(KINDS)] = Field(
        INTERESTS, description="What recalls: an encoder and an index, lists of similar items, or popularity alone."
    )
    model: Model
    data: Data
    preprocessing: Preprocessing
    profile: list[Feature] = Field(description="The user's features that the model uses.")
    categories: list[Name] = Field(description="Item features that diversity can look at.")
    interests: InterestsPart
    encoder: EncoderPart = EncoderPart()
    index: Index = Index()
    ranker: RankerPart | None = Field(None, description="The second stage, if there is one.")
    metrics: MetricsPart = MetricsPart()
    loss: float | None = Field(None, description="The mean loss of the last epoch.")
    versions: dict[str, str] = Field({}, description="Of Python and of the libraries that trained and exported.")


class Manifest(Contents):
    """The whole of ``manifest.json``: the contents, and what the sealed folder adds."""

    format: str
    version: int
    files: dict[str, File] = Field(description="Every other file by its path in the bundle.")
    created: Name = Field(description="When it was exported, in UTC.")
    id: str = Field(description="SHA-256 of the files and of all that stands here but the time.")
    seal: str = Field(description="SHA-256 of this file without the seal.")
