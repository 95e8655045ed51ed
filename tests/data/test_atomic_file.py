"""Atomic files: read as ten lines of Python read them, and refused by line."""

from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_mind import InputError
from recbole_mind.cli import main
from recbole_mind.data import atomic_file
from recbole_mind.data.atomic_file import Clock, Column, Format
from recbole_mind.training import build, run
from tests.support.data import LEAVE_ONE_OUT
from tests.support.rows import HEAD, overrides, rows, targets, write_rows


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
