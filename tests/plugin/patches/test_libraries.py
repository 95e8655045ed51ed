"""RecBole on newer libraries, without each patch and with it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse
import torch
from recbole.config import Config

from recbole_mind.plugin.patches.libraries import ANOMALY_DETECTION, DOK_MATRIX_UPDATE, NUMPY_NAMES
from recbole_mind.training import build
from tests.support.data import small_settings


@pytest.mark.parametrize(("first", "enabled"), [("torch", "True"), ("recbole_mind", "False")])
def test_anomaly_detection(first, enabled):
    code = f"import {first}, recbole.config, recbole.model.sequential_recommender as _, torch as t"
    code += "; print(t.is_anomaly_enabled())"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == enabled


def test_anomaly_detection_that_a_user_asked_for_stays():
    with ANOMALY_DETECTION.off():
        assert torch.is_anomaly_enabled()
    ANOMALY_DETECTION.undo()
    torch.autograd.set_detect_anomaly(False)
    ANOMALY_DETECTION.apply()
    assert not torch.is_anomaly_enabled()


def test_dok_matrix_update(small, monkeypatch):
    monkeypatch.delattr(scipy.sparse.dok_matrix, "_update", raising=False)  # as SciPy 1.13 has it
    keys = ("data_path", "load_col", "topk", "valid_metric")
    settings = {key: value for key, value in small_settings(small).items() if key in keys}
    config = build.build_config("LightGCN", "small", overrides=settings)
    _, train, _, _ = build.build_data(config)
    DOK_MATRIX_UPDATE.undo()
    with pytest.raises(Exception, match="has no attribute '_update'"):
        build.build_model(config, train)
    DOK_MATRIX_UPDATE.apply()
    graph = build.build_model(config, train).norm_adj_matrix
    assert graph._nnz() == 2 * len(train.dataset)


def test_numpy_names(monkeypatch):
    needed = NUMPY_NAMES.in_force
    for name in ("float_", "complex_", "unicode_"):  # as numpy 2.0 has it
        monkeypatch.delattr(np, name, raising=False)
    with NUMPY_NAMES.off(), pytest.raises(AttributeError, match="float_"):
        Config.compatibility_settings(None)
    assert NUMPY_NAMES.in_force
    Config.compatibility_settings(None)
    assert np.float_ is np.float64
    if not needed:
        NUMPY_NAMES.undo()
