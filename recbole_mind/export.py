"""From a checkpoint to a bundle: needs RecBole, torch and onnx; what it writes needs none of them.

Shape legend: B users, L history length (padded), K interests, D embedding size, N items, P size of a profile.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_mind import export_classic, export_graph, export_ranker
from recbole_mind.config import keys, loading
from recbole_mind.errors import InputError, nearest, require
from recbole_mind.layers.embeddings import FeatureEmbedding
from recbole_mind.models.base import RetrievalModel
from recbole_mind.ranking.run import load_ranker
from recbole_mind.retrieval import faiss_backend
from recbole_mind.retrieval.index import MultiVectorIndex
from recbole_mind.retrieval.storage import training_of
from recbole_mind.retrieval.types import Bools, Floats, Ints
from recbole_mind.serving.bundle import manifest, sealed_folder, signing
from recbole_mind.serving.bundle.encoder import INPUTS, OUTPUTS, Encoder
from recbole_mind.serving.bundle.token_index import TokenIndex
from recbole_mind.training import checkpoint, describe, load
from recbole_mind.training.result import versions
from recbole_mind.util.arrays import save_array
from recbole_mind.util.extras import require_modules
from recbole_mind.util.files import JSON, parse_json, read_text, sha256

SAMPLE = 200  # histories on which encoder and index are tried
DEPTH = 1000  # at which the index's recall is measured
ENOUGH = 0.97  # of the exact search, for an index that nobody has chosen
TOLERANCE = 1e-5  # between the exported encoder and the model
_TRAINING = ("MAX_ITEM_LIST_LENGTH", "epochs", "eval_args", "learner", "learning_rate", "seed", "train_batch_size",
             "weight_decay")  # fmt: skip


def export(
    path: str | Path,
    folder: str | Path,
    *,
    factory: str = "auto",
    parameters: object = None,
    categories: Sequence[str] = (),
    record: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    sign: str | Path | None = None,
    ranker: str | Path | None = None,
) -> dict[str, Any]:
    """Write the bundle of a checkpoint; one that is there is replaced at one stroke.

    Args:
        path: a checkpoint of MIND, ComiRecSA, ComiRecDR, YouTubeDNN or another model on ``RetrievalModel``; or of
            RecBole's ItemKNN or Pop.
        folder: where the bundle goes.
        factory: of the item index: ``"exact"``, a FAISS factory string or ``"auto"``
            (:meth:`~recbole_mind.retrieval.index.MultiVectorIndex.build`).
        parameters: FAISS's search parameters, as a mapping or as ``nprobe=32,k_factor=2``.
        categories: item features for diversity, beside those that the model uses.
        record: of the run or of an evaluation, for the metrics on test data.
        overrides: settings that win over the checkpoint's, such as ``data_path``.
        sign: a file with the private key that signs the bundle (:mod:`recbole_mind.serving.bundle.signing`).
        ranker: a checkpoint of :func:`recbole_mind.ranking.run.rank`, trained on this very recall: the second stage.

    Returns:
        the manifest.

    Raises:
        InputError: onnx is missing, no such checkpoint, a model without interests, an index that cannot be, a folder
            that cannot be written.
    """
    require_modules("export", "onnx")  # torch's exporter asks for it
    sealed_folder.check_target(Path(folder).absolute())
    signer = None if sign is None else signing.signer(sign)
    content = checkpoint.load(path)
    name = content["settings"]["model"]
    classic = name in export_classic.MODELS
    if classic:
        export_classic.check(name, factory, parameters, content["settings"])
    else:
        keys.check_has_interests(name, "to export", *export_classic.MODELS)
    metrics = manifest.MetricsPart(valid=_finite(content["best_valid_result"] or {}), test=_tested(record, path))
    loss = _finite({"loss": content.get("mean_loss")})["loss"]
    trained = _settings(content["settings"])
    del content
    require(ranker is None or not classic, f"ranker: model {name} has no interests for one to rank by")
    given = {"checkpoint_dir": str(Path(path).parent), "use_gpu": False} | dict(overrides or {})
    loaded = load.load(path, given)
    model: RetrievalModel = loaded.model
    second = None if ranker is None else load_ranker(ranker, path, loaded)

    def fill(target: Path) -> dict[str, Any]:
        dataset = loaded.dataset
        counts = describe.popularity(loaded.train_data)[1:].astype(np.int64)
        part, norms = export_classic.Part(manifest.INTERESTS, manifest.Index()), False
        if classic:
            part = export_classic.write(target, model)
        else:
            norms = _write_items(target, model)
            sample = _sample(loaded)
            wanted = _interests(model, sample)
            part = replace(part, index=_write_index(target, model, factory, parameters, wanted))
            write_encoder(target / "encoder.onnx", model, part.index.training)
            _try(model, Encoder((target / "encoder.onnx").read_bytes()), sample, wanted)
        _write_popularity(target, counts if part.counts is None else part.counts)
        _write_tokens(target, "items", dataset, dataset.iid_field)
        _write_tokens(target, "users", dataset, dataset.uid_field)
        return manifest.Contents(
            kind=part.kind,
            model=manifest.Model(name=name, checkpoint=sha256(path), settings=trained),
            data=manifest.Data(
                name=loaded.config["dataset"],
                items=dataset.item_num - 1,
                untrained_items=int((counts == 0).sum()),
                users=dataset.user_num - 1,
                interactions=int(counts.sum()),
                fingerprint=_fingerprint(loaded.config),
            ),
            preprocessing=manifest.Preprocessing(
                max_history=None if classic else model.max_seq_length,
                time_span=None if classic or model.time_gaps is None else float(model.time_gaps.span),
                norms=norms,
                item_field=dataset.iid_field,
                user_field=dataset.uid_field,
                item_features=[] if classic else list(loaded.config["item_features"] or []),
                user_features=[] if classic else list(loaded.config["user_features"] or []),
            ),
            profile=[] if classic else _write_profile(target, model, loaded),
            categories=_write_categories(target, loaded, categories),
            interests=manifest.InterestsPart(K=0, D=0)
            if classic
            else manifest.InterestsPart(
                K=model.num_interests or 1,
                D=model.size,
                adaptive=bool(getattr(getattr(model, "routing", None), "adaptive", False)),
                similarity=model.similarity,
            ),
            encoder=manifest.EncoderPart(training=part.index.training),
            index=part.index,
            ranker=None
            if second is None or ranker is None
            else export_ranker.write(target, second, part.index.training, sha256(ranker)),
            metrics=metrics,
            loss=loss,
            versions=versions(),
        ).model_dump()

    return sealed_folder.write(folder, fill, signer)


# -- the encoder --------------------------------------------------------------------------------------------------


class _Graph(nn.Module):
    def __init__(self, model: RetrievalModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, behaviors: Tensor, lengths: Tensor, profile: Tensor, *gaps: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        found = self.model.encode(behaviors, lengths, profile, *gaps)
        return found.interests, found.active, found.weights


@torch.no_grad()
def write_encoder(path: Path, model: RetrievalModel, training: str | None = None) -> None:
    """Write the ONNX graph of :meth:`~recbole_mind.models.base.RetrievalModel.encode`, for any B and L.

    The item table stays outside: behaviours come in as vectors, so that the graph is small for any catalogue. The graph
    names the ``training`` that it is of, so that it is known for a stranger beside another's index.
    """
    B, L = 2, min(3, model.max_seq_length)
    generator = torch.Generator().manual_seed(0)
    behaviors = torch.randn(B, L, model.size, generator=generator)
    example = [behaviors, torch.tensor([L, 1]), torch.zeros(B, model.profile_encoder.size)]
    axes = {"behaviors": {0: "B", 1: "L"}, "lengths": {0: "B"}, "profile": {0: "B"}}
    if model.time_gaps is not None:
        example.append(torch.rand(B, L, generator=generator))
        axes["gaps"] = {0: "B", 1: "L"}
    export_graph.write(path, _Graph(model).eval(), example, INPUTS[: len(example)], OUTPUTS, axes, training)


def _sample(loaded: load.Loaded) -> Any:
    """Some rows of the training data, evenly spread."""
    rows = loaded.train_data.dataset.inter_feat
    chosen = torch.linspace(0, len(rows) - 1, min(len(rows), SAMPLE)).long()
    return rows[torch.from_numpy(np.unique(chosen.numpy()))]


@torch.no_grad()
def _interests(model: RetrievalModel, histories: Any) -> tuple[Floats, Bools]:
    """The model's own interests ``[B, K, D]`` of histories, and which are active ``[B, K]``."""
    interests, active = model.interests(histories)
    return interests.numpy(), active.numpy()


@torch.no_grad()
def _try(model: RetrievalModel, encoder: Encoder, histories: Any, wanted: tuple[Floats, Bools]) -> None:
    """Hold the encoder against the model's own interests."""
    interests, active = wanted
    lengths = histories[model.ITEM_SEQ_LEN]
    behaviors = model.item_encoder(histories[model.ITEM_SEQ]) * (histories[model.ITEM_SEQ] > 0)[..., None]
    profile = model.profile_encoder(histories[model.USER_ID])
    gaps = None if model.time_gaps is None else model.time_gaps(histories)
    given = None if gaps is None else gaps.numpy()
    found = encoder(behaviors.numpy(), lengths.numpy(), profile.numpy(), given)
    error = float(np.abs(found.interests - interests).max() / max(1.0, float(np.abs(interests).max())))
    if not (error <= TOLERANCE and np.array_equal(found.active, active)):
        raise RuntimeError(f"the exported encoder differs from the model by {error:.1e}")


# -- items, users and features ------------------------------------------------------------------------------------


@torch.no_grad()
def _write_items(target: Path, model: RetrievalModel) -> bool:
    """Write the lengths of the behaviours' vectors where the index's are brought to unit length."""
    if model.similarity != "cosine":
        return False
    save_array(target / "norms.npy", torch.linalg.vector_norm(model.item_encoder.table()[1:], dim=1).numpy())
    return True


@torch.no_grad()
def _write_index(
    target: Path, model: RetrievalModel, factory: str, parameters: object, wanted: tuple[Floats, Bools]
) -> manifest.Index:
    """Write the index; returns what it is and how much of the exact search it finds for the interests of a sample."""
    items: Floats = model.item_vectors().float().numpy()[1:]
    require(bool(np.isfinite(items).all()), "checkpoint: item vectors hold NaN or infinite values; training diverged")
    items.flags.writeable = False
    index = MultiVectorIndex.build(items, factory, device="cpu")
    index.set_parameters(**faiss_backend.parse(parameters))
    n = min(DEPTH, len(index))
    recall = 1.0 if index.is_exact else index.recall(*wanted, n)
    while factory == "auto" and not parameters and recall < ENOUGH and (index.nprobe or 0) < index.lists:
        index.nprobe = min(2 * index.nprobe, index.lists)  # one that nobody has chosen visits more of its lists
        recall = index.recall(*wanted, n)
    index.save(target / "index")
    return manifest.Index(
        factory=index.factory,
        metric=index.metric,
        parameters=index.parameters,
        training=training_of(target / "index"),
        recall=float(recall),
        n=n,
        users=len(wanted[0]),
    )


def _write_popularity(target: Path, counts: Ints) -> None:
    """Write how often each item stands in the training data, and the rows by it; ties go to the lower row."""
    save_array(target / "counts.npy", counts)
    save_array(target / "popularity.npy", np.argsort(-counts, kind="stable").astype(np.int32))


def _write_tokens(target: Path, name: str, dataset: Any, field: str, number: int | None = None) -> int:
    """Write the raw tokens of a field but for padding; returns how many."""
    known = dataset.field2id_token[field][1 : None if number is None else number + 1]
    tokens = TokenIndex.of([str(token) for token in known])
    tokens.save(target / "tokens", name)
    return len(tokens)


def _write_profile(target: Path, model: RetrievalModel, loaded: load.Loaded) -> list[manifest.Feature]:
    """Write each user feature's embeddings, tokens and known users' values."""
    entries = []
    for place, (field, feature) in enumerate(
        zip(loaded.config["user_features"] or [], model.profile_encoder.features, strict=True)
    ):
        assert isinstance(feature, FeatureEmbedding)  # noqa: S101 - for the type checker
        table = feature.embedding.weight.detach().numpy()
        number = _write_tokens(target, f"user-{place}", loaded.dataset, field, len(table) - 1)
        require(number == len(table) - 1, f"user_features: '{field}' has values without a token")
        save_array(target / "profile" / f"{place}.table.npy", table)
        save_array(target / "profile" / f"{place}.users.npy", feature.values[1:].numpy().astype(np.int32))
        several = loaded.dataset.field2type[field].value == "token_seq"
        entries.append(manifest.Feature(field=field, several=several, values=number, size=table.shape[1]))
    return entries


def _write_categories(target: Path, loaded: load.Loaded, asked: Sequence[str]) -> list[str]:
    """Write the values of the model's item features and of the others that are asked for."""
    features, types = loaded.dataset.item_feat, loaded.dataset.field2type
    known = [] if features is None else [field for field in features.columns if field != loaded.dataset.iid_field]
    known = [field for field in known if types[field].value in ("token", "token_seq")]
    fields = list(dict.fromkeys([*(loaded.config["item_features"] or []), *asked]))
    for place, field in enumerate(fields):
        allowed = ", ".join(known) or "none that is loaded"
        require(field in known, f"category: '{field}' is no item feature{nearest(field, known)}; allowed: {allowed}")
        values = features[field]
        values = values if isinstance(values, Tensor) else torch.as_tensor(np.stack(values.to_numpy()))
        table = values[1:].numpy().astype(np.int32)
        require(table.size > 0, f"category: no item has a value of '{field}'")
        save_array(target / "categories" / f"{place}.npy", table.reshape(len(table), -1))
    return fields


# -- what the manifest says ---------------------------------------------------------------------------------------


def _settings(own: Mapping[str, Any]) -> dict[str, Any]:
    """The model's settings and the training's, as the checkpoint has them, without any folder."""
    names = [*(loading.defaults("model", own["model"]) or keys.model_defaults(own["model"])), *_TRAINING]
    found = {key: own[key] for key in sorted(names) if key in own and key != "packed"}
    pool = found.get("item_pool")
    return found | ({"item_pool": Path(pool).name} if pool else {})


def _fingerprint(config: Any) -> str | None:
    path = Path(config["data_path"]) / f"{config['dataset']}.inter"
    return sha256(path) if path.is_file() else None


def _finite(values: Mapping[str, Any]) -> dict[str, float | None]:
    """Numbers as JSON has them: no NaN, no infinity."""
    return {
        key: float(value) if value is not None and math.isfinite(float(value)) else None
        for key, value in values.items()
    }


def _tested(record: str | Path | None, path: str | Path) -> dict[str, float | None]:
    """The metrics on test data of a record, which must be one of this checkpoint."""
    if record is None:
        return {}
    try:
        content = parse_json(read_text(record, "record", JSON))
    except InputError:
        raise
    except ValueError:
        raise InputError(f"record '{record}' is not JSON") from None
    content = content if isinstance(content, dict) else {}
    named = str(content.get("checkpoint"))
    same = Path(named).name == Path(path).name
    require(same, f"record: '{record}' is of checkpoint '{named}', not of '{path}'")
    test = content.get("test")
    good = isinstance(test, dict) and all(isinstance(value, (int, float)) for value in test.values())
    require(good, f"record: '{record}' holds no metrics on test data")
    return _finite(test or {})
