"""Crafted checkpoints: whatever opens one, nothing that it names runs, and one line says why it is refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_mind import InputError
from recbole_mind.training import archive, build, checkpoint, load, recbole_checkpoint
from recbole_mind.training import run as quick_start
from tests.support.data import small_settings
from tests.support.waiting import HANG

CANARY = "canary"
COMMAND = f"touch {CANARY}"


def text(value):
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw if len(raw) < 256 else b"X" + struct.pack("<I", len(raw)) + raw


def stack_global(module, name):
    return text(module) + text(name) + b"\x93"


def by_line(module, name):
    return f"c{module}\n{name}\n".encode()


def call(function, *arguments):
    return function + b"(" + b"".join(arguments) + b"tR"


def archived(path, pickled, *, entries=(), compression=zipfile.ZIP_STORED, root="archive"):
    """An archive as torch writes it, around a pickle of one's own."""
    with zipfile.ZipFile(path, "w", compression) as out:
        for name, content in ((f"{root}/data.pkl", pickled), (f"{root}/version", b"3\n"), *entries):
            out.writestr(name, content)
    return path


PROGRAM = f"__import__('os').system({COMMAND!r})"
SYSTEM = text(COMMAND)
NAMES = {  # each with the arguments that would run the command
    "os system": SYSTEM,
    "posix system": SYSTEM,
    "subprocess getoutput": SYSTEM,
    "builtins eval": text(PROGRAM),
    "builtins exec": text(PROGRAM),
    "builtins __import__": text("numpy.f2py.__main__"),
    "builtins getattr": text("os") + text("system"),
    "builtins open": text(CANARY) + text("w"),
    "__builtin__ eval": text(PROGRAM),
    "torch._utils _rebuild_tensor.__builtins__.get": text("eval"),
    "torch._utils _rebuild_tensor.__globals__": text("eval"),
    "torch._utils _import_dotted_name": text("numpy.f2py.__main__"),
    "torch._utils __builtins__": text("eval"),
    "torch.serialization load": text("other.pth"),
    "torch.serialization os.system": SYSTEM,
    "torch.hub load": text("."),
    "torch.storage _load_from_bytes": b"B\0\0\0\0",
    "torch jit.load": text("other.pth"),
    "torch.utils.cpp_extension load": text("x"),
    "torch.nn.modules.module Module": b"",
    "numpy.f2py.__main__ main": b"",
    "numpy.testing._private.utils runstring": text(PROGRAM) + b"}",
    "numpy load": text("other.npy"),
    "numpy.core.multiarray _reconstruct.__class__": b"",
    "scipy.sparse._csr csr_matrix.__init__": b"",
    "scipy.sparse load_npz": text("other.npz"),
    "recbole.quick_start run_recbole": b"",
    "recbole.quick_start.quick_start load_data_and_model": text("other.pth"),
    "recbole.config.configurator Config._load_config_files": text("x"),
    "recbole.config.configurator os.system": SYSTEM,
    "recbole.utils.utils get_model": text("BPR"),
    "recbole_mind.training.run load": text("other.pth"),
    "recbole_mind.util.files write_atomic": text(CANARY) + text("x"),
    "recbole_mind.training.launch run": b"",
    "yaml.loader FullLoader.get_data": text(PROGRAM),
    "yaml load": text("!!python/object/apply:os.system ['" + COMMAND + "']"),
    "copyreg _reconstructor": b"",
    "functools partial": b"",
    "operator attrgetter": text("system"),
    "pickle loads": b"B\0\0\0\0",
    "_codecs lookup": text("x"),
    "antigravity x": b"",
    f"{CANARY}_module run": b"",  # a module beside, which writes the canary when it is imported
    "collections OrderedDict.fromkeys": b"",
    "logging getLogger.__globals__": b"",
    "": b"",
}


def crafted():
    """By name, bytes of a pickle that would run something: each operation that can call or import, each name."""
    found = {}
    for name, arguments in NAMES.items():
        module, _, attribute = name.partition(" ")
        found[f"REDUCE {name}"] = b"\x80\x04" + call(stack_global(module, attribute), arguments) + b"."
        found[f"GLOBAL {name}"] = b"\x80\x02" + call(by_line(module, attribute), arguments) + b"."
    attack = stack_global("torch._utils", "_rebuild_tensor.__builtins__.get") + text("eval") + b"\x85R"
    found["the dotted name"] = b"\x80\x04" + attack + text(PROGRAM) + b"\x85R."
    system = by_line("os", "system")
    found["INST"] = b"(" + b"V" + COMMAND.encode() + b"\nios\nsystem\n."
    found["OBJ"] = b"(" + system + b"V" + COMMAND.encode() + b"\no."
    found["NEWOBJ"] = b"\x80\x04" + stack_global("subprocess", "Popen") + text(COMMAND) + b"\x85\x81."
    found["NEWOBJ_EX"] = b"\x80\x04" + stack_global("subprocess", "Popen") + text(COMMAND) + b"\x85}\x92."
    found["EXT1"] = b"\x80\x02\x82\x01" + text(COMMAND) + b"\x85R."
    found["EXT2"] = b"\x80\x02\x83\x01\0" + text(COMMAND) + b"\x85R."
    found["EXT4"] = b"\x80\x02\x84\x01\0\0\0" + text(COMMAND) + b"\x85R."
    found["PERSID"] = b"Pstorage\n."
    config = stack_global("recbole.config.configurator", "Config") + b")\x81"
    found["BUILD of a setting of Config"] = (
        b"\x80\x04}(" + text("config") + config + b"}(" + text("__class__") + system + text("final_config_dict")
        + b"}" + text("model") + call(system, SYSTEM) + b"ubu."
    )  # fmt: skip
    # states for what is on the list: of the class itself, of its instances, of strange types
    for module in ("recbole.config.configurator Config", "torch._utils _rebuild_tensor_v2", "numpy dtype",
                   "collections OrderedDict", "scipy.sparse._csr csr_matrix"):  # fmt: skip
        module, _, name = module.partition(" ")
        one = stack_global(module, name)
        state = b"}" + text("__setstate__") + text("x") + b"s"
        found[f"BUILD {name}"] = b"\x80\x04}" + text("state_dict") + one + state + b"bs."
        found[f"BUILD slots {name}"] = b"\x80\x04}" + text("state_dict") + one + b"N" + state + b"\x86bs."
        found[f"BUILD instance {name}"] = b"\x80\x04}" + text("state_dict") + one + b")R" + state + b"bs."
    found["no arguments"] = b"\x80\x04" + stack_global("torch._utils", "_rebuild_tensor_v2") + b")R."
    return found


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A module that a file may name, and a check that it never was imported, nor anything else run."""
    Path(f"{CANARY}_module.py").write_text(f"open({CANARY!r}, 'w')\ndef run(*_): open({CANARY!r}, 'w')\n")
    Path("other.pth").write_bytes(pickle.dumps(print))
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield
    assert not Path(CANARY).exists()
    strange = {"antigravity", "numpy.f2py.__main__", f"{CANARY}_module", "torch.utils.cpp_extension"}
    assert not (set(sys.modules) - before) & strange


@pytest.mark.parametrize("name", crafted())
def test_nothing_that_a_crafted_file_names_is_imported_or_called(name, canary):
    path = archived("crafted.pth", crafted()[name])
    with pytest.raises(InputError, match=r"crafted\.pth'") as error:
        checkpoint.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["REDUCE os system", "the dotted name", f"GLOBAL {CANARY}_module run", "INST"])
@pytest.mark.parametrize("inside", ["config", "state_dict", "optimizer", "other_parameter"])
def test_nor_is_it_inside_of_a_checkpoint_that_is_otherwise_whole(name, inside, canary):
    payload = crafted()[name].removeprefix(b"\x80\x04").removeprefix(b"\x80\x02")[:-1]
    parts = [text(key) + (payload if key == inside else b"}") for key in ("state_dict", "config", "optimizer")]
    parts += [text("other_parameter") + payload] if inside == "other_parameter" else []
    path = archived("crafted.pth", b"\x80\x04}(" + b"".join(parts) + b"u.")
    with pytest.raises(InputError, match=r"crafted\.pth' is refused: it would run "):
        checkpoint.load(path)


def commands(path):
    yield ["recbole-mind", "evaluate", path]
    yield ["recbole-mind", "export", path, "-o", "bundle"]
    yield ["recbole-mind", "explain", path, "-o", "page"]
    yield ["recbole-mind", "report", path, "-o", "page"]
    yield ["run_recbole", "--model=MIND", "--dataset=small", "--data_path=data", f"--resume={path}"]


def test_every_command_that_opens_a_checkpoint_refuses_it_in_one_line(canary, small):
    """In this process, since each would take seconds to start: what they run is the same."""
    os.symlink(small, "data")
    from recbole_mind.cli import main

    for name in ("the dotted name", f"REDUCE {CANARY}_module run", "REDUCE numpy.f2py.__main__ main"):
        path = str(archived("crafted.pth", crafted()[name]))
        for program, *arguments in commands(path):
            run = main.run_recbole if program == "run_recbole" else main.main
            stream = io.StringIO()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "stderr", stream)
                assert run(arguments) == 2, arguments
            (line,) = [line for line in stream.getvalue().splitlines() if line.startswith("error:")]
            assert "'crafted.pth' is refused: it would run" in line
            assert "Traceback" not in stream.getvalue()
        with pytest.raises(InputError, match="is refused"):
            load.load(path)


def test_a_process_of_its_own_refuses_it_too(canary):
    archived("crafted.pth", crafted()["the dotted name"])
    program = [sys.executable, "-c", "import sys; from recbole_mind.cli.main import main; sys.exit(main(sys.argv[1:]))"]
    done = subprocess.run([*program, "evaluate", "crafted.pth"], capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: 'crafted.pth' is refused: it would run torch._utils.")
    assert "Traceback" not in done.stderr


# -- archives ------------------------------------------------------------------------------------------------------


def saved(content):
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def rewritten(path, content, change):
    """``content``, an archive of torch, with its entries as ``change(name, bytes)`` gives them."""
    with zipfile.ZipFile(io.BytesIO(content)) as found, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as out:
        for name in found.namelist():
            out.writestr(name, change(name, found.read(name)))
    return path


WHOLE = {"state_dict": {"weight": torch.arange(4.0)}}


def nested():
    inner = saved(WHOLE)
    return archived("a.pth", inner, entries=[("archive/data/0", inner)])


def legacy():
    stream = io.BytesIO()
    torch.save(WHOLE, stream, _use_new_zipfile_serialization=False)
    Path("a.pth").write_bytes(stream.getvalue())


def tarred():
    import tarfile

    with tarfile.open("a.pth", "w") as file:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            body = pickle.dumps({}, 2)
            entry.size = len(body)
            file.addfile(entry, io.BytesIO(body))


def overlapping():
    """Many entries of the table of contents that are the same bytes of the file."""
    body = b"0" * 2**16
    archived("a.pth", b"\x80\x02}.", entries=[("archive/data/0", body)])
    whole = Path("a.pth").read_bytes()
    start = whole.rindex(b"PK\5\6")
    size, place = struct.unpack("<LL", whole[start + 12 : start + 20])
    table = whole[place : place + size]
    entry = table[table.rindex(b"PK\1\2") :]
    more = b"".join(entry.replace(b"data/0", f"data/{n}".encode()) for n in range(1, 9))
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 11, 11, size + len(more), place, 0)
    Path("a.pth").write_bytes(whole[:place] + table + more + end)


def declared(number):
    """A storage that says that it has more bytes than are there."""
    wide = lambda name, body: body.replace(b"K\x04t", b"\x8a\x06" + number.to_bytes(6, "little") + b"t").replace(  # noqa: E731
        b"K\x04\x85", b"\x8a\x06" + number.to_bytes(6, "little") + b"\x85"
    )
    rewritten("a.pth", saved(WHOLE), wide)


def two_tables():
    """Python reads the end of the archive that stands before the last one; torch the one that it points at."""
    archived("a.pth", b"\x80\x02}.")
    whole = Path("a.pth").read_bytes()
    end = whole.rindex(b"PK\5\6")
    size, place = struct.unpack("<LL", whole[end + 12 : end + 20])
    large = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, size, place)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, 7, 1)
    Path("a.pth").write_bytes(whole[:end] + large + locator + whole[end:])


ARCHIVES = {
    "nested": (nested, "is truncated or corrupt"),
    "a form of before 1.6": (legacy, "not a checkpoint of torch 1.6 or later"),
    "tar": (tarred, "not a checkpoint of torch 1.6 or later"),
    "compressed": (
        lambda: archived("a.pth", b"\x80\x02}.", entries=[("archive/data/0", bytes(2**26))],
                         compression=zipfile.ZIP_DEFLATED),
        "is compressed or encrypted",
    ),
    "overlapping": (overlapping, "claims to hold more than the file does"),
    "two tables of contents": (two_tables, "is truncated, corrupt or not a checkpoint"),
    "TorchScript": (
        lambda: archived("a.pth", b"\x80\x02}.", entries=[("archive/constants.pkl", b"")]), "of other files",
    ),
    "code": (lambda: archived("a.pth", b"\x80\x02}.", entries=[("archive/code/a.py", b"")]), "of other files"),
    "a path upward": (lambda: archived("a.pth", b"\x80\x02}.", entries=[("../data/0", b"")]), "of other files"),
    "two roots": (lambda: archived("a.pth", b"\x80\x02}.", entries=[("b/data/0", b"")]), "of other files"),
    "twice": (lambda: archived("a.pth", b"\x80\x02}.", entries=[("archive/data.pkl", b"")]), "of other files"),
    "big endian": (lambda: archived("a.pth", b"\x80\x02}.", entries=[("archive/byteorder", b"big")]), "order of bytes"),
    "no pickle": (lambda: archived("a.pth", b"\xff\xfe"), "its data.pkl is no pickle"),
    "more than is there": (lambda: declared(100), "truncated or corrupt|larger than its bytes"),
    "a terabyte": (lambda: declared(2**40), "truncated or corrupt|larger than its bytes"),
    "a memo of a billion": (lambda: archived("a.pth", b"\x80\x02}r\xff\xff\xff\x3f."), "counts on more than it holds"),
    "a text of a gigabyte": (lambda: archived("a.pth", b"\x80\x02X\xff\xff\xff\x3fx."), "its data.pkl is no pickle"),
    "a frame of an exabyte": (lambda: archived("a.pth", b"\x80\x04\x95" + b"\xff" * 7 + b"\x0f}."), "corrupt"),
    "a bytearray": (
        lambda: archived("a.pth", b"\x80\x04" + stack_global("builtins", "bytearray") + b"J\xff\xff\xff\x7f\x85R."),
        "is refused: it would run builtins.bytearray",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_that_is_not_as_torch_writes_it_is_refused(kind):
    make, words = ARCHIVES[kind]
    make()
    with pytest.raises(InputError, match=words) as error:
        checkpoint.load("a.pth")
    assert "'a.pth'" in str(error.value)


def test_lists_of_lists_of_lists_do_not_grow():
    """What a pickle says once and names a thousand times counts a thousand times."""
    laughs = b"\x80\x02]q\0" + b"".join(
        b"](" + b"h%c" % (n - 1) * 20 + b"eq%c" % n for n in range(1, 12)
    )  # fmt: skip
    for head in (b"", by_line("torch", "device")):
        archived("a.pth", b"\x80\x02}(" + text("x") + head + text("state_dict") + laughs[2:] + b"u.")
        with pytest.raises(InputError, match=r"'a\.pth'"):
            checkpoint.load("a.pth")
    content = {"x": 0}
    for _ in range(40):
        content = {"a": content, "b": content}
    good = {key: {} for key in ("state_dict", "optimizer", "best_valid_result")} | dict.fromkeys(
        ("epoch", "cur_step", "best_valid_score"), 0
    )
    whole = good | {"format": checkpoint.FORMAT, "version": 1, "settings": '{"model": "MIND", "dataset": "a"}'}
    torch.save(whole, "a.pth")
    assert checkpoint.load("a.pth")["epoch"] == 0
    torch.save(whole | {"other_parameter": content}, "a.pth")
    with pytest.raises(InputError, match="its parts do not belong together"):
        checkpoint.load("a.pth")


@pytest.mark.parametrize("name", ["/dev/zero", "pipe", "folder", "gone"])
def test_what_is_no_file_is_refused_at_once(name):
    os.mkfifo("pipe")
    os.mkdir("folder")
    with pytest.raises(InputError, match=r"is not a file|Is a directory|does not exist"):
        checkpoint.load(name)


# -- what does not fit ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("trained"))
    return quick_start.run("MIND", "small", overrides=small_settings(small, epochs=1, checkpoint_dir=folder)).checkpoint


@pytest.mark.parametrize(
    "wrong",
    [
        {"epoch": "one"}, {"epoch": 2**40}, {"cur_step": None}, {"best_valid_score": "x"}, {"state_dict": {"a": 1}},
        {"state_dict": [1]}, {"optimizer": 3}, {"other_parameter": [1]}, {"settings": "[" * 100_000},
        {"settings": '{"model": 1, "dataset": "a"}'}, {"settings": "[]"},
        {"other_parameter": {"forward": 1}}, {"other_parameter": {"w": {"__numpy__": 1}}},
        {"other_parameter": {"w": {"__scipy__": "array", "shape": (9, 9)}}},
        {"other_parameter": {"w": {"__scipy__": "csr", "shape": (2**40, 1), "row": torch.zeros(1),
                                   "col": torch.zeros(1), "data": torch.zeros(1)}}},
        {"other_parameter": {"w": {"__scipy__": "csr", "shape": (1, 1), "row": torch.tensor([7]),
                                   "col": torch.tensor([-7]), "data": torch.zeros(1)}}},
        {"other_parameter": {"w": torch.zeros(1).expand(2**40)}},
        {"curve": 5}, {"curve": ["x"]}, {"seconds": {"a": "x"}}, {"data": {"tokens": 1}}, {"best": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_part_of_another_kind_is_told(trained, wrong):
    torch.save(torch.load(trained, weights_only=True) | wrong, "a.pth")
    with pytest.raises(InputError, match=r"is corrupt|does not fit"):
        load.load("a.pth")


# -- RecBole's own -------------------------------------------------------------------------------------------------

FIELDS = ("data_path", "load_col", "eval_args", "topk", "valid_metric", "show_progress")


@pytest.mark.parametrize("name", ["SASRec", "GRU4RecF", "BPR", "EASE", "ItemKNN", "SLIMElastic", "LightGCN", "Pop"])
def test_real_checkpoints_of_recbole_open(small, name):
    from recbole.trainer import Trainer

    given = {key: value for key, value in small_settings(small).items() if key in FIELDS}
    given |= {"selected_features": ["genre"]} if name == "GRU4RecF" else {}
    config = build.build_config(name, "small", overrides=given)
    config.final_config_dict.pop("timestamp_order")  # RecBole's own files know no such key
    _, train, _, _ = build.build_data(config)
    model = build.build_model(config, train)
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(0.25)
    Trainer._save_checkpoint(Trainer(config, model), 3, verbose=False, saved_model_file="recbole.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load("recbole.pth", weights_only=True)
    content = checkpoint.load("recbole.pth")
    assert content["epoch"] == 3
    assert content["settings"]["model"] == name
    loaded = load.load("recbole.pth")
    for key, weight in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], weight), key
    for key, value in model.other_parameter().items():
        kept = getattr(loaded.model, key)
        if hasattr(value, "toarray"):
            assert type(kept) is type(value)
            np.testing.assert_array_equal(kept.toarray(), value.toarray())
        elif isinstance(value, torch.Tensor):
            assert torch.equal(kept, value)
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(np.asarray(kept), np.asarray(value))


def with_pickle(content):
    """An archive of protocol 4 with live objects, as RecBole's, of which a test says what they hold."""
    torch.save(content, "a.pth", pickle_protocol=4)
    with archive.Archive("a.pth") as opened:
        return recbole_checkpoint.read(opened, "cpu")


def test_values_come_back_as_they_were():
    from scipy import sparse

    matrix = sparse.random(5, 7, 0.3, random_state=1)
    given = {
        "text": "ä", "number": -3, "none": None, "yes": True, "list": [1, (2.5, "b")], "score": np.float64(0.5),
        "view": torch.arange(12.0)[2:10].reshape(2, 4).T, "half": torch.ones(3, dtype=torch.bfloat16),
        "empty": torch.empty(0, 3), "array": np.arange(6, dtype=np.int64).reshape(2, 3, order="F"),
        "words": np.array(["a", "bcd"]), "size": torch.Size([1, 2]), "several": {1, 2},
    }  # fmt: skip
    for protocol in (2, 4):
        torch.save(given, "a.pth", pickle_protocol=protocol)
        with archive.Archive("a.pth") as opened:
            found = recbole_checkpoint.read(opened, "cpu")
        for key in ("text", "number", "none", "yes", "list", "score", "several"):
            assert found[key] == given[key], key
        for key in ("view", "half", "empty"):
            assert torch.equal(found[key], given[key]), key
            assert found[key].dtype == given[key].dtype
        for key in ("array", "words"):
            np.testing.assert_array_equal(found[key], given[key])
    for form in ("csr", "csc", "coo", "lil"):
        kept = with_pickle({"m": matrix.asformat(form)})["m"]
        assert kept.format == form
        np.testing.assert_array_equal(kept.toarray(), matrix.toarray())


def spoilt_matrix(form, **changes):
    from scipy import sparse

    matrix = sparse.random(5, 7, 0.3, random_state=1).asformat(form)
    vars(matrix).update(changes)
    return matrix


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: spoilt_matrix("csr", indices=np.full(10, 10**6, np.int32)), "truncated, corrupt"),
        (lambda: spoilt_matrix("csr", indptr=np.array([0, 9, 2, 4, 5, 10**6], np.int32)), "truncated, corrupt"),
        (lambda: spoilt_matrix("csc", _shape=(2**40, 7)), "a matrix has no size"),
        (lambda: spoilt_matrix("coo", _shape=(1, 1)), "truncated, corrupt"),
        (lambda: spoilt_matrix("lil", _shape=(9, 7)), "a matrix is not of its size"),
        (lambda: spoilt_matrix("csr", data=np.array(["a"] * 10)), "truncated, corrupt|does not hold numbers"),
        (lambda: np.zeros(2, [("a", "f4"), ("b", "O")]), "an array is of an unknown kind"),
        (lambda: np.zeros(2, "M8[s]"), "an array is of an unknown kind"),
        (lambda: np.zeros(2, ">f4"), "an array is of an unknown kind"),
        (lambda: 2**80, "beyond 64 bits"),
        (lambda: torch.zeros(3).to_sparse(), "_rebuild_sparse_tensor"),
        (lambda: range(3), r"builtins\.range"),
    ],
)
def test_arrays_and_matrices_are_checked_against_their_bytes(content, words):
    with pytest.raises(archive.BadArchiveError, match=words):
        with_pickle({"config": {}, "m": content()})


@pytest.mark.parametrize(
    "view",
    [
        (0, (5,), (1,)), (4, (1,), (1,)), (-1, (1,), (1,)), (0, (2**40,), (0,)), (0, (2, 3), (2, 1)),
        (0, (1,), (1, 1)), (0, (-1,), (1,)), (0, (True,), (1,)), (0, (1,) * 17, (1,) * 17),
    ],
)  # fmt: skip
def test_a_tensor_lies_in_its_bytes(view):
    class Tensor:
        def __reduce__(self):
            storage = torch.storage.TypedStorage(
                wrap_storage=torch.arange(4.0).untyped_storage(), dtype=torch.float32, _internal=True
            )
            return torch._utils._rebuild_tensor_v2, (storage, *view, False, {})

    with pytest.raises(archive.BadArchiveError, match="a tensor is larger than its bytes"):
        with_pickle({"t": Tensor(), "config": {}})


# -- settings that RecBole would run ---------------------------------------------------------------------------------


def test_a_setting_that_recbole_evaluates_is_one_of_its_names(small, canary):
    """KD_DAGFM evaluates the name of its teacher, which a checkpoint's settings may say."""
    given = {key: value for key, value in small_settings(small).items() if key in ("data_path", "load_col")}
    with pytest.raises(InputError, match=r"teacher: .* is not allowed; allowed: CrossNet, CIN"):
        build.build_config("KD_DAGFM", "small", overrides=given | {"teacher": PROGRAM})
    stored = given | {"model": "KD_DAGFM", "dataset": "small", "teacher": PROGRAM, "topk": [5], "metrics": ["AUC"],
                      "valid_metric": "AUC", "eval_args": {"mode": "labeled"}}  # fmt: skip
    whole = {key: {} for key in ("state_dict", "optimizer", "best_valid_result")} | dict.fromkeys(
        ("epoch", "cur_step", "best_valid_score"), 0
    )
    torch.save(whole | {"format": checkpoint.FORMAT, "version": 1, "settings": json.dumps(stored)}, "a.pth")
    with pytest.raises(InputError, match="teacher: "):
        load.load("a.pth")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"dataset_save_path": -1}, "dataset_save_path: -1 is not allowed"),
        ({"dataloaders_save_path": [1]}, r"dataloaders_save_path: \[1\] is not allowed"),
        ({"metrics": []}, "metrics: "),
        ({"topk": []}, "topk: "),
        ({"checkpoint_dir": 3}, "checkpoint_dir: 3 is not allowed"),
    ],
    ids=str,
)
def test_settings_of_another_kind_are_told(trained, wrong, words):
    content = torch.load(trained, weights_only=True)
    settings = json.dumps(json.loads(content["settings"]) | wrong)
    torch.save(content | {"settings": settings}, "a.pth")
    with pytest.raises(InputError, match=words):
        load.load("a.pth")


@pytest.mark.parametrize(
    ("part", "value"),
    [("epoch", "x"), ("batch", -1), ("loss", []), ("order", torch.zeros(3)), ("python", ""), ("python", [3, [1], None]),
     ("numpy", []), ("torch", None), ("torch", torch.zeros(9, dtype=torch.uint8)), ("cuda", 3), ("model", "x")],
    ids=str,
)  # fmt: skip
def test_where_training_stood_is_checked(small, part, value):
    from recbole_mind.training.position import Position, check_position

    state = Position([1, 2], torch.nn.Linear(1, 1)).state(0, 0, 0.0)
    check_position(state)
    with pytest.raises(InputError, match="where its training stood is of another kind"):
        check_position(state | {part: value})
    with pytest.raises(InputError, match="where its training stood is of another kind"):
        check_position({key: state[key] for key in state if key != part})


class _Runs:
    def __reduce__(self):
        return os.system, (COMMAND,)


def test_an_array_that_recbole_would_unpickle_holds_numbers(small, canary):
    """LDiffRec reads item_emb.npy beside the data with allow_pickle."""
    shutil.copytree(small, "data")
    np.save("data/small/item_emb.npy", np.array([_Runs()], object), allow_pickle=True)
    given = {key: value for key, value in small_settings("data").items() if key in FIELDS}
    config = build.build_config("LDiffRec", "small", overrides=given | {"n_cate": 2})
    _, train, _, _ = build.build_data(config)
    with pytest.raises(InputError, match=r"item_emb\.npy' is not an array of numbers"):
        build.build_model(config, train)
