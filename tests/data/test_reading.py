"""Data files as they stand: characters, encodings, times, what is left out, splits in files; a line for each fault."""

from __future__ import annotations

import csv
import datetime as dt
import json
import math
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_mind import InputError
from recbole_mind.cli import main
from recbole_mind.config.keys import known_keys
from recbole_mind.data import atomic_file, times
from recbole_mind.data.atomic_file import Clock, Column, Format
from recbole_mind.training import build, run
from tests.support.data import LEAVE_ONE_OUT, SHORT_RUN

HEAD = "user_id:token\titem_id:token\ttimestamp:float"


def rows(users=12, items=20, length=8, seed=0):
    """Interactions of ``users``, as cells: user, item, seconds since 1970, in no order."""
    generator = np.random.default_rng(seed)
    found = []
    for user in range(users):
        for place, item in enumerate(generator.choice(items, length, replace=False)):
            found.append([f"u{user}", f"i{item}", str(1_700_000_000 + 1000 * user + place)])
    return [found[place] for place in generator.permutation(len(found))]


def write_rows(folder, found, head=HEAD, name="a", ending=".inter", encoding="utf-8", separator="\t", newline="\n"):
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    text = newline.join([head.replace("\t", separator), *(separator.join(row) for row in found)]) + newline
    path = target / f"{name}{ending}"
    path.write_bytes(text.encode(encoding))
    return path


def overrides(folder, model="MIND", **more):
    """Settings of a run of a second; those that ``model`` does not know are left out."""
    found = SHORT_RUN | {"data_path": str(folder), "epochs": 1, "show_progress": False, "use_gpu": False} | more
    return {key: value for key, value in found.items() if key in known_keys(model)}


def targets(folder, model="MIND", **more):
    """Each user's test target, as it stands in the file."""
    config = build.build_config(model, "a", overrides=overrides(folder, model, eval_args=LEAVE_ONE_OUT, **more))
    dataset, _, _, test = build.build_data(config)
    feat = test.dataset.inter_feat
    pairs = zip(feat["user_id"], feat["item_id"], strict=True)
    return {dataset.id2token("user_id", int(u)): dataset.id2token("item_id", int(i)) for u, i in pairs}


def last_of(found):
    """Each user's last item by the ten lines that anybody would write."""
    return {user: max((float(t), item) for u, item, t in found if u == user)[1] for user, _, _ in found}


# -- characters ----------------------------------------------------------------------------------------------------

CELL = st.text(st.characters(exclude_characters="\t\n\r\0", exclude_categories=["Cs"]), min_size=1, max_size=6)
PRICE = st.one_of(st.just(""), st.floats(allow_nan=False, allow_infinity=False).map(repr), st.integers().map(str))


@settings(max_examples=40, deadline=None)
@given(data=st.data(), lazy=st.booleans(), newline=st.sampled_from(["\n", "\r\n"]), mark=st.booleans())
def test_a_data_set_holds_what_ten_lines_read(tmp_path_factory, data, lazy, newline, mark):
    folder = tmp_path_factory.mktemp("any")
    users = data.draw(st.lists(CELL, min_size=3, max_size=5, unique=True))
    items = data.draw(st.lists(CELL, min_size=4, max_size=8, unique=True))
    found = []
    for user in users:
        for place, item in enumerate(data.draw(st.lists(st.sampled_from(items), min_size=4, max_size=6))):
            found.append([user, item, repr(1e9 + place / 4), data.draw(PRICE)])
    found = data.draw(st.permutations(found))
    words = [
        [item, data.draw(st.one_of(st.just(""), CELL)), " ".join(data.draw(st.lists(CELL, max_size=3)))]
        for item in items
    ]
    path = write_rows(folder, found, f"{HEAD}\tprice:float", newline=newline)
    write_rows(folder, words, "item_id:token\ttitle:token\ttags:token_seq", ending=".item", newline=newline)
    if mark:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    config = build.build_config(
        "SASRec", "a", overrides=overrides(folder, "SASRec", load_col=None, lazy_sequences=lazy)
    )
    missing = atomic_file.MISSING
    by_user: dict[str, list[tuple[float, str]]] = {}
    for line in path.read_bytes().decode("utf-8-sig").split("\n")[1:]:  # here they are
        cells = line.removesuffix("\r").split("\t")
        if len(cells) == 4 and not {cells[0], cells[1]} & missing:
            by_user.setdefault(cells[0], []).append((float(cells[2]), cells[1]))
    if sum(len(seen) > 2 for seen in by_user.values()) < 2 or len({i for s in by_user.values() for _, i in s}) < 3:
        return
    config.final_config_dict["topk"] = [1]
    dataset, train, valid, test = build.build_data(config)
    for loader, back in ((test, 1), (valid, 2)):
        feat = loader.dataset.inter_feat
        for place in range(len(loader.dataset)):
            user = dataset.id2token("user_id", int(feat["user_id"][place]))
            want = [item for _, item in sorted(by_user[user], key=lambda pair: pair[0])]
            assert dataset.id2token("item_id", int(feat["item_id"][place])) == want[-back]
            n = int(feat["item_length"][place])
            seen = dataset.id2token("item_id", feat["item_id_list"][place][:n].numpy())
            assert list(seen) == want[:-back][-10:]
    for number, token in enumerate(dataset.field2id_token["item_id"][1:], 1):
        title, tags = next((row[1:] for row in words if row[0] == token), ("", ""))
        known = dataset.id2token("title", int(dataset.item_feat["title"][number]))
        assert known == ("[PAD]" if title in missing else title)
        ids = [int(i) for i in dataset.item_feat["tags"][number] if i]
        assert list(dataset.id2token("tags", ids)) == (
            [] if tags in missing else [tag for tag in tags.split(" ") if tag]
        )
    kept = sum(len(seen) for seen in by_user.values())
    counts = train.dataset.counts
    assert counts.read["interactions"] == len(found)
    assert sum(counts.left_out.values()) == len(found) - counts.kept["interactions"]
    assert counts.kept["interactions"] <= kept


@pytest.mark.parametrize("model", ["MIND", "BPR"])
def test_a_lone_quote_swallows_no_line(tmp_path, model):
    """pandas read everything from one quote to the next as one cell: other items, and no word."""
    plain = rows()
    shutil.rmtree(tmp_path / "a", ignore_errors=True)
    names = [[f"i{item}", f"film {item}"] for item in range(20)]
    figures = []
    for odd in (False, True):
        folder = tmp_path / str(odd)
        mark = '"' if odd else "'"
        write_rows(folder, [[u, i.replace("i3", f"{mark}i3").replace("i9", f"i9{mark}"), t] for u, i, t in plain])
        named = [
            [i.replace("i3", f"{mark}i3").replace("i9", f"i9{mark}"), n.replace("film 5", f"film {mark}5")]
            for i, n in names
        ]
        write_rows(folder, named, "item_id:token\ttitle:token", ending=".item")
        more = {"load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "title"]}}
        more |= {"eval_args": LEAVE_ONE_OUT} if model == "MIND" else {}
        result = run.run(model, "a", overrides=overrides(folder, model, checkpoint_dir=str(folder), **more))
        figures.append((result.test, result.data))
    assert figures[0] == figures[1]
    assert figures[0][1]["kept"] == {"interactions": 96, "users": 12, "items": 20}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "gbk"])
@pytest.mark.parametrize("separator", ["\t", ",", "::"])
def test_a_file_is_read_in_the_encoding_and_with_the_separator_that_the_settings_name(tmp_path, encoding, separator):
    word = "é" if encoding == "latin-1" else "" if encoding == "gbk" else "é电"
    found = [[f"{word}{u}", i, t] for u, i, t in rows()]
    write_rows(tmp_path, found, encoding=encoding, separator=separator)
    assert targets(tmp_path, encoding=encoding, field_separator=separator) == last_of(found)


def test_names_of_items_are_read_as_they_stand(tmp_path):
    from recbole_mind.analysis.items import read_items

    write_rows(tmp_path, rows())
    names = [[f"i{item}", title] for item, title in enumerate(['"Up"', '12" singles', "NA", "tab", ""])]
    write_rows(tmp_path, names, "item_id:token\ttitle:token", ending=".item")
    config = build.build_config("MIND", "a", overrides=overrides(tmp_path))
    words = read_items(build.build_data(config)[0])
    assert {t: words.titles[words.tokens.index(t)] for t, _ in names if t in words.tokens} == {
        t: title or t for t, title in names if t in words.tokens
    }


# -- times ---------------------------------------------------------------------------------------------------------


def iso(seconds, zone=""):
    moment = dt.datetime.fromtimestamp(float(seconds), dt.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + zone


@pytest.mark.parametrize("kind", ["float", "token"])
@pytest.mark.parametrize(
    "written",
    [
        lambda t: t,
        lambda t: f"{t}000",
        lambda t: f"{t}000000",
        lambda t: f"{t}123456789",
        lambda t: str(int(t) - 1_800_000_000),
        lambda t: f"{int(t) / 7:.9e}",
        iso,
        lambda t: iso(t, "Z"),
        lambda t: iso(t).replace("T", " "),
        lambda t: iso(t, ".250000"),
        lambda t: iso(int(t) + 7200, "+02:00"),
    ],
    ids=["s", "ms", "us", "ns", "negative", "exponent", "iso", "Z", "space", "fraction", "zone"],
)
def test_times_order_the_behaviours_in_any_unit_and_as_iso(tmp_path, kind, written):
    found = rows()
    path = write_rows(
        tmp_path, [[u, i, written(t)] for u, i, t in found], HEAD.replace("timestamp:float", f"timestamp:{kind}")
    )
    want = last_of(found)
    for more in ({}, {"lazy_sequences": False}, {"model": "SASRec"}):
        assert targets(tmp_path, **more) == want
    assert main.main(["pack", "a", f"--data_path={tmp_path}"]) == 0
    assert targets(tmp_path, packed=str(path.with_suffix(".packed"))) == want


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("", "no time in 'timestamp'"),
        ("nan", "no time in 'timestamp'"),
        ("NA", "no time in 'timestamp'"),
        ("inf", "'inf' is no time"),
        ("-Infinity", "'-Infinity' is no time"),
        ("1e999", "'1e999' is no time"),
        ("yesterday", "'yesterday' is no time"),
        ("31/12/2024", "'31/12/2024' is no time"),
        ("2024-02-30", "'2024-02-30'"),
        ("2024-05-31", "'2024-05-31' stands in 'timestamp' among times of the other kind"),
    ],
)
@pytest.mark.parametrize("kind", ["float", "token"])
def test_what_is_no_time_is_refused_by_line(tmp_path, capsys, kind, cell, words):
    found = rows()
    found[40][2] = cell
    path = write_rows(tmp_path, found, HEAD.replace("timestamp:float", f"timestamp:{kind}"))
    said = []
    for more in ({}, {"lazy_sequences": False}, {"model": "SASRec"}):
        with pytest.raises(InputError) as error:
            targets(tmp_path, **more)
        said.append(str(error.value))
    assert main.main(["pack", "a", f"--data_path={tmp_path}"]) == 2
    said.append(capsys.readouterr().err.strip().removeprefix("error: "))
    assert len(set(said)) == 1
    assert said[0].startswith(f"'{path}', line 42: ")
    assert words in said[0]


def test_a_row_that_is_left_out_needs_no_time(tmp_path):
    found = rows()
    write_rows(tmp_path, [*found, ["", "i1", ""], ["u1", "NA", "never"]])
    assert targets(tmp_path) == targets(tmp_path, lazy_sequences=False) == last_of(found)


def test_times_that_float64_cannot_tell_apart_are_refused():
    reader = times.Reader()
    near = ["1700000000123456789", "1700000000123456790", "5"]
    with pytest.raises(times.WrongCellError) as error:
        reader.read(near, np.ones(3, bool))
    assert (error.value.place, error.value.reason) == (1, "fine")
    assert times.Reader().read(["1700000000123456000"] * 2, np.ones(2, bool))[0] == 1700000000123456000


def test_iso_times_are_seconds_since_1970():
    cells = ["1970-01-01", "1970-01-01T00:00:01", "1969-12-31T23:59:59.5Z", "1970-01-01 02:00:00+02:00", "x"]
    needed = np.array([True, True, True, True, False])
    got = times.Reader().read(cells, needed)
    assert got[:4].tolist() == [0.0, 1.0, -0.5, 0.0]
    assert math.isnan(got[4])


def test_a_time_that_orders_nothing_stays_what_its_type_says(tmp_path):
    """A context model may embed the hour of the day, typed as a token."""
    write_rows(
        tmp_path, [[u, i, f"hour {t[-1]}"] for u, i, t in rows()], HEAD.replace("timestamp:float", "timestamp:token")
    )
    config = build.build_config("BPR", "a", overrides=overrides(tmp_path, "BPR", load_col=None))
    assert len(build.build_data(config)[0].field2id_token["timestamp"]) == 9


# -- faults, the same for every command ----------------------------------------------------------------------------


def text_of(found):
    return "\n".join([HEAD, *("\t".join(row) for row in found)]) + "\n"


def untyped(text):
    return text.replace(":token", "").replace(":float", "")


FAULTS = {
    "no types": (lambda t: untyped(t).encode(), "line 1: column 'user_id' is not name:type"),
    "an unknown type": (lambda t: t.replace("item_id:token", "item_id:string").encode(), "column 'item_id:string'"),
    "commas": (lambda t: t.replace("\t", ",").encode(), "commas separate its columns, not tabs; --field_separator=','"),
    "commas, no types": (lambda t: untyped(t).replace("\t", ",").encode(), "commas separate its columns"),
    "semicolons": (lambda t: t.replace("\t", ";").encode(), "--field_separator=';' reads it"),
    "utf-16": (lambda t: t.encode("utf-16"), "line 1: it is utf-16 text, not utf-8; --encoding=utf-16 reads it"),
    "utf-16 without a mark": (lambda t: t.encode("utf-16-le"), "line 1: it holds NUL characters"),
    "latin-1": (lambda t: t.replace("u3\t", "ué\t").encode("latin-1"), "it is not utf-8 text; --encoding names"),
    "gbk": (lambda t: t.replace("u3\t", "电影\t").encode("gbk"), "it is not utf-8 text; --encoding names"),
    "empty": (lambda _: b"", "is empty; the first line names the columns"),
    "only a mark": (lambda _: b"\xef\xbb\xbf", "is empty; the first line names the columns"),
    "no rows": (lambda _: f"{HEAD}\n".encode(), "holds no row below its first line"),
    "an empty first line": (lambda t: f"\n{t}".encode(), "line 1: it is empty"),
    "a column twice": (lambda t: t.replace("timestamp:float", "item_id:token").encode(), "'item_id' stands twice"),
    "quoted columns": (lambda t: t.replace("item_id:token", '"item_id:token"').encode(), "there is no quoting"),
    "a field too many": (lambda t: t.replace("u3\t", "u3\t\t", 1).encode(), "has 4 fields, and the first line names 3"),
    "a field too few": (lambda t: t.replace("u3\t", "u3", 1).encode(), "has 2 fields, and the first line names 3"),
    "NUL": (lambda t: t.replace("u3\t", "u\0003\t", 1).encode(), "it holds NUL characters"),
    "no time": (lambda t: t.replace("\t17000", "\tx17000", 1).encode(), "is no time, and 'timestamp' orders"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint of a good file, in a folder of its own."""
    folder = tmp_path_factory.mktemp("good")
    write_rows(folder, rows())
    given = overrides(folder, epochs=2, checkpoint_dir=str(folder / "saved"))
    return folder, run.run("MIND", "a", overrides=given).checkpoint


@pytest.mark.parametrize("fault", FAULTS)
def test_each_command_says_the_same_line_of_a_malformed_file(trained, tmp_path, monkeypatch, capsys, fault):
    folder, checkpoint = trained
    spoil, words = FAULTS[fault]
    good = (folder / "a/a.inter").read_bytes()
    path = folder / "a/a.inter"
    path.write_bytes(spoil(good.decode()))

    def train(*more, model="MIND", **settings):
        given = overrides(folder, model, **settings)
        return main.run_recbole([f"--model={model}", "--dataset=a", *(f"--{k}={v}" for k, v in given.items()), *more])

    leaderboard = {
        "models": ["MIND"],
        "datasets": ["a"],
        "data_path": str(folder),
        "seeds": [1],
        "settings": {"MIND": {"epochs": 1}},
    }
    sweep = {"model": "MIND", "dataset": "a", "space": {"K": {"choice": [1, 2]}}, "max_evals": 1, "final_seeds": []}
    sweep["settings"] = {"data_path": str(folder), "epochs": 1}
    (tmp_path / "board.yaml").write_text(json.dumps(leaderboard))
    (tmp_path / "sweep.yaml").write_text(json.dumps(sweep))
    commands = {
        "run": lambda: train(),
        "padded": lambda: train(lazy_sequences=False),
        "RecBole's": lambda: train(model="SASRec", lazy_sequences=False),
        "resume": lambda: train(f"--resume={checkpoint}", epochs=3),
        "pack": lambda: main.main(["pack", "a", f"--data_path={folder}"]),
        "evaluate": lambda: main.main(["evaluate", checkpoint]),
        "export": lambda: main.main(["export", checkpoint, "-o", "bundle"]),
        "explain": lambda: main.main(["explain", checkpoint, "-o", "explained"]),
        "leaderboard": lambda: main.main(["leaderboard", "board.yaml", "--output=board"]),
        "sweep": lambda: main.main(["sweep", "sweep.yaml", "--output=swept"]),
    }
    said = {}
    try:
        for name, command in commands.items():
            status, output = command(), capsys.readouterr()
            line = output.err.strip().splitlines()[-1]
            said[name] = status, line[line.index(f"'{path}'") :] if f"'{path}'" in line else line
        with pytest.raises(InputError) as error:
            run.run("MIND", "a", overrides=overrides(folder))
        said["Python"] = 2, str(error.value)
    finally:
        path.write_bytes(good)
    assert {status for status, _ in said.values()} == {2}, said
    assert len({line for _, line in said.values()}) == 1, said
    assert words in said["run"][1]
    assert "b'" not in said["run"][1]
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("ending", ["item", "user"])
@pytest.mark.parametrize("fault", ["commas", "latin-1", "a column twice", "a field too many", "empty", "utf-16"])
def test_files_of_items_and_users_are_refused_by_line_too(tmp_path, capsys, ending, fault):
    write_rows(tmp_path, rows())
    names = {"item": "item_id:token\tname:token\tprice:float", "user": "user_id:token\tname:token\tage:float"}[ending]
    path = write_rows(tmp_path, [[f"{ending[0]}{k}", f"u{k}", "3"] for k in range(20)], names, ending=f".{ending}")
    twice = ("name:token", f"{ending}_id:token") if fault == "a column twice" else ("", "")
    path.write_bytes(FAULTS[fault][0](path.read_text().replace(*twice)))
    columns = {"inter": ["user_id", "item_id", "timestamp"], ending: [f"{ending}_id"]}
    said = set()
    for model, more in (("MIND", {}), ("MIND", {"lazy_sequences": False}), ("BPR", {})):
        with pytest.raises(InputError) as error:
            run.run(model, "a", overrides=overrides(tmp_path, model, load_col=columns, **more))
        said.add(str(error.value))
    assert len(said) == 1
    assert f"'{path}'" in min(said)
    assert FAULTS[fault][1].replace("'item_id'", f"'{ending}_id'") in min(said)


def test_an_unknown_encoding_or_an_empty_separator_is_named(tmp_path):
    write_rows(tmp_path, rows())
    for more, words in (
        ({"encoding": "utf-99"}, "encoding: 'utf-99' is unknown"),
        ({"encoding": "base64"}, "encoding: 'base64' is unknown"),
        ({"field_separator": ""}, "field_separator: '' is not allowed"),
        ({"seq_separator": ""}, "seq_separator: '' is not allowed"),
        ({"encoding": "gbk", "field_separator": "|"}, "tabs separate its columns, not bars; leave field_separator out"),
    ):
        with pytest.raises(InputError) as error:
            targets(tmp_path, **more)
        assert words in str(error.value)


def test_a_column_that_load_col_names_and_the_file_lacks_is_refused(tmp_path):
    write_rows(tmp_path, rows())
    with pytest.raises(InputError, match=r"load_col: 'item_idd' is no column of '.*a\.inter'; did you mean 'item_id'"):
        targets(tmp_path, load_col={"inter": ["user_id", "item_id", "item_idd", "timestamp"]})


def test_numbers_of_other_columns_are_named_by_line(tmp_path):
    write_rows(tmp_path, [[*row, "cheap" if k == 5 else "1.5"] for k, row in enumerate(rows())], f"{HEAD}\tprice:float")
    with pytest.raises(InputError, match="line 7: 'cheap' is no number, and 'price' holds numbers"):
        targets(tmp_path, load_col=None)
    found = [[f"i{k}", "1 2 x" if k == 3 else "1 2"] for k in range(5)]
    path = write_rows(tmp_path, found, "item_id:token\tparts:float_seq", ending=".item")
    columns = [Column(1, "parts", "float_seq")]
    with pytest.raises(InputError, match="line 5: 'x' is no number, and 'parts' holds numbers"):
        atomic_file.read(path, Format(), columns)
    path.write_text(path.read_text().replace("x", "3"))
    assert [part.tolist() for part in atomic_file.read(path, Format(), columns)["parts"]][3] == [1, 2, 3]


def test_an_undecodable_line_is_numbered_in_wide_encodings_too(tmp_path):
    path = tmp_path / "x.inter"
    path.write_bytes("a:token\n1\n2\n".encode("utf-16") + b"\x00\xd8\x0a\x00")
    with pytest.raises(InputError, match="line 4: it is not utf-16 text"):
        list(atomic_file.lines(path, "utf-16"))


def test_large_files_are_read_in_parts(tmp_path, monkeypatch):
    found = rows()
    path = write_rows(tmp_path, found)
    whole = atomic_file.read(
        path, Format(), atomic_file.columns(path, Format()), Clock("timestamp", "user_id", "item_id")
    )
    monkeypatch.setattr(atomic_file, "ROWS", 7)
    parts = atomic_file.read(
        path, Format(), atomic_file.columns(path, Format()), Clock("timestamp", "user_id", "item_id")
    )
    assert whole.equals(parts)
    assert whole["timestamp"].tolist() == [float(t) for _, _, t in found]


# -- what is left out ----------------------------------------------------------------------------------------------


def left_out(folder, **more):
    model = more.pop("model", "MIND")
    config = build.build_config(model, "a", overrides=overrides(folder, model, **more))
    return build.build_data(config)[1].dataset.counts.record()


@pytest.mark.parametrize("model", ["MIND", "SASRec", "BPR"])
def test_interactions_that_filters_leave_out_are_counted_by_reason(tmp_path, model):
    found = rows(users=20, items=12, length=8)
    extra = [["", "i1", "1"], ["u1", "", "1"], ["", "", "1"]]
    again = [found[0], found[1]]
    write_rows(tmp_path, [*extra, *found, *again])
    write_rows(tmp_path, [[f"i{k}", "x"] for k in range(9)], "item_id:token\tkind:token", ending=".item")
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "kind"]}
    known = [row for row in found if int(row[1][1:]) < 9]
    common = {"model": model, "load_col": columns, "rm_dup_inter": "first", "topk": [5], "valid_metric": "NDCG@5"}
    data = left_out(tmp_path, **common, user_inter_num_interval="[6,inf)", item_inter_num_interval="[0,inf)")
    few = {user for user, _, _ in known if sum(u == user for u, _, _ in known) < 6}
    kept = [row for row in known if row[0] not in few]
    assert data["read"] == {"interactions": 165, "users": 20, "items": 12}
    assert data["left_out"] == {
        "without a user or an item": 3,
        "repeated (rm_dup_inter)": 2,
        "whose item_id is not in a.item": len(found) - len(known),
        "outside user_inter_num_interval or item_inter_num_interval": len(known) - len(kept),
    }
    assert data["kept"] == {
        "interactions": len(kept),
        "users": len({u for u, _, _ in kept}),
        "items": len({i for _, i, _ in kept}),
    }


def test_rows_without_a_user_beside_rows_without_an_item(tmp_path):
    """RecBole took labels for places after the first, left a good row out and kept one without an item."""
    found = rows()
    spoiled = [[("" if k == 3 else u), ("" if k == 50 else i), t] for k, (u, i, t) in enumerate(found)]
    write_rows(tmp_path, spoiled)
    good = [row for row in spoiled if row[0] and row[1]]
    for more in ({}, {"lazy_sequences": False}):
        assert targets(tmp_path, **more) == last_of(good)


def test_the_terminal_and_the_record_say_how_much_is_left_out(tmp_path, capsys):
    found = rows()
    write_rows(tmp_path, found)
    write_rows(tmp_path, [[f"i{k}"] for k in range(10)], "item_id:token", ending=".item")
    arguments = [f"--{key}={value}" for key, value in overrides(tmp_path).items()]
    columns = "--load_col={inter: [user_id, item_id, timestamp], item: [item_id]}"
    assert main.run_recbole(["--model=MIND", "--dataset=a", "--record=r.json", *arguments, columns]) == 0
    output = capsys.readouterr()
    gone = sum(int(item[1:]) >= 10 for _, item, _ in found)
    words = f"left out of 96: {gone} whose item_id is not in a.item"
    assert words in " ".join(output.out.split())
    with open("r.json") as file:
        assert json.load(file)["data"]["left_out"] == {"whose item_id is not in a.item": gone}


def test_a_leaderboard_refuses_rows_of_different_data(tmp_path, capsys):
    write_rows(tmp_path, rows())
    write_rows(tmp_path, [[f"i{k}", "x"] for k in range(10)], "item_id:token\tkind:token", ending=".item")
    short = {key: value for key, value in SHORT_RUN.items() if key not in ("topk", "valid_metric")} | {"epochs": 1}
    spec = {"models": ["MIND", "half"], "datasets": ["a"], "data_path": str(tmp_path), "seeds": [1], "baseline": "MIND"}
    spec["settings"] = {
        "all": short | {"topk": [5], "valid_metric": "NDCG@5"},
        "half": {"model": "MIND", "item_features": ["kind"]},
    }
    (tmp_path / "board.yaml").write_text(json.dumps(spec))
    assert main.main(["leaderboard", str(tmp_path / "board.yaml"), "--output=board"]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "'half' and 'MIND' do not stand on the same data" in line
    assert "whose item_id is not in a.item" in line
    spec["settings"]["all"]["filter_inter_by_user_or_item"] = False
    (tmp_path / "board.yaml").write_text(json.dumps(spec))
    assert main.main(["leaderboard", str(tmp_path / "board.yaml"), "--output=board2"]) == 0
    for name in ("leaderboard.md", "leaderboard.html", "leaderboard.tex"):
        assert "data: 96 interactions, 12 users, 20 items" in (tmp_path / "board2" / name).read_text()
    with open(tmp_path / "board2/leaderboard.csv", newline="") as file:
        assert {(line["interactions"], line["left_out"]) for line in csv.DictReader(file)} == {("96", "0")}


# -- splits in files -----------------------------------------------------------------------------------------------

FILES = {"benchmark_filename": ["train", "valid", "test"]}


def write_files(folder, *, head="user_id:token\titem_id_list:token_seq\titem_id:token"):
    generator = np.random.default_rng(0)
    for phase in FILES["benchmark_filename"]:
        found = []
        for user in range(12):
            items = [f"i{item}" for item in generator.permutation(20)[:6]]
            found.append([f"u{user}", " ".join(items[:5]), items[5]])
        write_rows(folder, found, head, ending=f".{phase}.inter")
    return found


@pytest.mark.parametrize("model", ["MIND", "SASRec"])
@pytest.mark.parametrize(
    "more",
    [{}, {"load_col": {"inter": ["user_id", "item_id", "item_id_list"]}}, {"alias_of_item_id": ["item_id_list"]}],
)
def test_histories_in_files_are_numbered_as_their_targets(tmp_path, model, more):
    found = write_files(tmp_path)
    given = overrides(tmp_path, model, **FILES, **more)
    dataset, _, _, test = build.build_data(build.build_config(model, "a", overrides=given))
    feat = test.dataset.inter_feat
    for place, (_, history, target) in enumerate(found):
        n = int(feat["item_length"][place])
        assert " ".join(dataset.id2token("item_id", feat["item_id_list"][place][:n].numpy())) == history
        assert dataset.id2token("item_id", int(feat["item_id"][place])) == target
    result = run.run(model, "a", overrides=given)
    assert result.protocol["split"] == "files"
    assert result.protocol["timestamp_order"] is None
    assert result.data["kept"]["interactions"] == 36


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"benchmark_filename": ["train", "test"]}, "benchmark_filename: .* allowed: three names"),
        ({"benchmark_filename": ["train", "train", "test"]}, "benchmark_filename: .* allowed: three names"),
        ({"benchmark_filename": "train"}, r"benchmark_filename: \['train'\] is not allowed"),
        ({"benchmark_filename": ["train", "valid", "final"]}, r"there is no file '.*a\.final\.inter'"),
        (
            {"user_inter_num_interval": "[5,inf)"},
            "user_inter_num_interval: .* would change a split that stands in files",
        ),
        ({"rm_dup_inter": "first"}, "rm_dup_inter: 'first' would change a split"),
        ({"load_col": {"inter": ["user_id", "item_id"]}}, "brings no column 'item_id_list:token_seq'"),
    ],
)
def test_what_a_split_in_files_cannot_have_is_refused(tmp_path, more, words):
    write_files(tmp_path)
    with pytest.raises(InputError, match=words):
        run.run("MIND", "a", overrides=overrides(tmp_path, **FILES) | more)


def test_files_of_a_split_name_the_same_columns(tmp_path):
    found = write_files(tmp_path)
    write_rows(
        tmp_path,
        [[u, i, h] for u, h, i in found],
        "user_id:token\titem_id:token\titem_id_list:token_seq",
        ending=".test.inter",
    )
    with pytest.raises(
        InputError, match=r"a\.test\.inter' has columns user_id, item_id, item_id_list, and .* allowed: the same"
    ):
        run.run("MIND", "a", overrides=overrides(tmp_path, **FILES, load_col=None))


def test_a_row_of_a_split_without_an_item_is_no_padding(tmp_path):
    found = write_files(tmp_path)
    found[4][2] = ""
    write_rows(tmp_path, found, "user_id:token\titem_id_list:token_seq\titem_id:token", ending=".valid.inter")
    given = overrides(tmp_path, **FILES)
    _, train, valid, test = build.build_data(build.build_config("MIND", "a", overrides=given))
    assert [len(loader.dataset) for loader in (train, valid, test)] == [12, 11, 12]
    assert int(valid.dataset.inter_feat["item_id"].min()) > 0
    assert valid.dataset.counts.left_out == {"without a user or an item": 1}
