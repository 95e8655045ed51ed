"""Signed bundles: who made one is known, and what nobody trusted has signed is neither published nor served."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from recbole_mind import InputError
from recbole_mind.cli import main
from recbole_mind.serving.bundle import sealed_folder, signing
from recbole_mind.serving.bundle.bundle import verify
from recbole_mind.serving.http.hot_swap import Bundles
from recbole_mind.serving.http.metrics import ChannelMetrics
from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.store.store import Store
from tests.support.bundles import exported, reseal, trained
from tests.support.serving import running
from tests.support.waiting import until

OPENSSH = serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()


def write_key(folder, name, key=None):
    """Write a private key, as ssh-keygen does; the line of its public key."""
    key = ed25519.Ed25519PrivateKey.generate() if key is None else key
    (folder / name).write_bytes(key.private_bytes(serialization.Encoding.PEM, *OPENSSH))
    (folder / name).chmod(0o600)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return public.decode() + f" {name}@trainer\n"


@pytest.fixture(scope="module")
def made(small, tmp_path_factory):
    """A signed bundle, and keys: ``ann`` signed, ``ben`` did not; ``trusted`` holds ann's and ``others`` ben's."""
    folder = tmp_path_factory.mktemp("signed")
    ann, ben = write_key(folder, "ann"), write_key(folder, "ben")
    (folder / "trusted").write_text(f"# who may sign\n\n{ann}")
    (folder / "others").write_text(ben)
    checkpoint = trained(folder / "run", small, "MIND", K=3)
    exported(checkpoint, folder / "signed", sign=folder / "ann")
    exported(checkpoint, folder / "unsigned")
    return folder


@pytest.fixture
def bundle(made, tmp_path):
    return shutil.copytree(made / "signed", tmp_path / "bundle")


def check(folder, keys):
    signing.check(folder, verify(folder), keys)


def test_a_bundle_is_known_by_who_signed_it(made, tmp_path):
    check(made / "signed", made / "trusted")
    (tmp_path / "both").write_text((made / "others").read_text() + (made / "trusted").read_text())
    check(made / "signed", tmp_path / "both")
    assert Recaller.load(made / "signed").bundle_id == Recaller.load(made / "unsigned").bundle_id


def resealed(folder):
    reseal(folder, loss=0.0)


def another(folder):
    (folder / "signature.json").write_bytes(b"{" * 4096)


def cut(folder):
    content = json.loads((folder / "signature.json").read_text())
    (folder / "signature.json").write_text(json.dumps(content | {"signature": content["signature"][:40]}))


def elsewhere(folder):
    (folder / "signature.json").rename(folder.parent / "signature.json")


HARM = {
    "changed and sealed again": (resealed, "its signature is not that of its manifest"),
    "another time": (lambda folder: reseal(folder, created="2020"), "its signature is not that of its manifest"),
    "no signature": (elsewhere, "it is not signed; export --sign KEY signs it"),
    "no JSON": (another, "signature.json is malformed"),
    "a signature that is cut": (cut, "its signature is not that of its manifest"),
}


@pytest.mark.parametrize("what", HARM)
def test_what_was_not_signed_is_refused_by_publish_and_serve(what, bundle, made, tmp_path, capsys):
    change, reason = HARM[what]
    change(bundle)
    with pytest.raises(InputError, match=rf"^bundle '{bundle}' is refused: {reason}$"):
        check(bundle, made / "trusted")
    keys = f"--trusted-keys={made / 'trusted'}"
    for arguments in (["publish", str(bundle), str(tmp_path / "store"), keys], ["serve", str(bundle), keys]):
        assert main.main(arguments) == 2
        assert capsys.readouterr().err == f"error: bundle '{bundle}' is refused: {reason}\n"
    assert not (tmp_path / "store").exists()


def test_a_key_that_is_not_trusted_is_named_as_ssh_keygen_names_it(made, tmp_path):
    with pytest.raises(InputError, match=r"signed by a key that '.*others' does not hold, SHA256:") as refused:
        check(made / "signed", made / "others")
    if program := shutil.which("ssh-keygen"):
        (tmp_path / "ann.pub").write_text((made / "trusted").read_text().splitlines()[-1])
        said = subprocess.run([program, "-l", "-f", tmp_path / "ann.pub"], capture_output=True, text=True, check=True)
        assert str(refused.value).endswith(said.stdout.split()[1])


def test_a_service_serves_only_what_was_signed(made, tmp_path):
    store = Store(tmp_path / "store")
    version = store.version(store.publish(made / "unsigned", force="for a test").id)
    with pytest.raises(InputError, match="it is not signed"):
        Bundles(store.folder, ChannelMetrics(), trusted_keys=made / "trusted")
    event = store.publish(made / "signed", force="for a test", trusted=made / "trusted")
    assert event.number == 1  # the same bundle, whose signature came later
    check(version, made / "trusted")
    with running(store.folder, trusted_keys=made / "trusted") as served:
        assert served.get("/ready").json["bundle"] == event.id
        (version / "signature.json").unlink()
        served.service.channels.bundles["default"]._tried.clear()
        served.service.channels.bundles["default"]._asked = None
        served.service.channels.bundles["default"]._serving = None
        until(lambda: served.figure('recbole_mind_swaps_total{result="failed"}') > 0)
        assert served.get("/ready").status == 503


KEYS = {
    "readable by all": (lambda path: path.chmod(0o644), r"is open to others, with mode 644; chmod 600 closes it"),
    "readable by the group": (lambda path: path.chmod(0o640), r"is open to others, with mode 640"),
    "no key": (lambda path: path.write_bytes(b"x"), "holds no private key of OpenSSH's; ssh-keygen -t ed25519"),
    "empty": (lambda path: path.write_bytes(b""), "holds no private key of OpenSSH's"),
    "large": (lambda path: path.write_bytes(bytes(2**20 + 1)), "is above 1048576 bytes"),
    "missing": (os.unlink, "cannot be read: No such file or directory"),
    "a folder": (lambda path: (path.unlink(), path.mkdir(0o700)), "(is not a file|cannot be read)"),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path, 0o600)), "is not a file"),
    "of another kind": (
        lambda path: write_key(path.parent, path.name, ec.generate_private_key(ec.SECP256R1())),
        "is not of Ed25519",
    ),
    "public": (lambda path: path.write_text(write_key(path.parent, "other")), "holds no private key"),
}


@pytest.mark.parametrize("what", KEYS)
def test_a_private_key_that_cannot_be_is_refused_in_one_line(what, tmp_path):
    write_key(tmp_path, "key")
    change, reason = KEYS[what]
    change(tmp_path / "key")
    with pytest.raises(InputError, match=rf"^key '[^\n]*key' [^\n]*{reason}[^\n]*$"):
        signing.signer(tmp_path / "key")


def test_a_key_with_a_passphrase_is_refused_in_one_line(tmp_path):
    program = shutil.which("ssh-keygen")
    if program is None:
        pytest.skip("ssh-keygen is not installed")
    subprocess.run([program, "-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "key"], check=True)
    with pytest.raises(InputError, match=r"^key '[^\n]*key' is locked by a passphrase; ssh-keygen"):
        signing.signer(tmp_path / "key")


TRUSTED = {
    "writable by all": (lambda path: path.chmod(0o666), "is open to others, with mode 666; chmod 644 closes it"),
    "writable by the group": (lambda path: path.chmod(0o664), "is open to others, with mode 664"),
    "no key": (lambda path: path.write_text("# nobody\n"), "holds no key"),
    "another kind of key": (lambda path: path.write_text("ssh-rsa AAAA x\n"), "line 1 is no public key"),
    "a private key": (lambda path: path.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n"), "line 1 is no public key"),
    "bytes": (lambda path: path.write_bytes(b"\n\xff\0\n"), "line 2 is no public key"),
    "missing": (os.unlink, "cannot be read: No such file or directory"),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path, 0o600)), "is not a file"),
}


@pytest.mark.parametrize("what", TRUSTED)
def test_trusted_keys_that_cannot_be_are_refused_in_one_line(what, tmp_path):
    (tmp_path / "keys").write_text(write_key(tmp_path, "key"))
    assert len(signing.trusted_keys(tmp_path / "keys")) == 1
    change, reason = TRUSTED[what]
    change(tmp_path / "keys")
    with pytest.raises(InputError, match=rf"^trusted keys '[^\n]*keys'[^\n]* {reason}[^\n]*$"):
        signing.trusted_keys(tmp_path / "keys")


def test_export_looks_at_the_key_before_it_works(made, tmp_path, capsys):
    checkpoint = next((made / "run/saved").glob("*.pth"))
    write_key(tmp_path, "key")
    (tmp_path / "key").chmod(0o644)
    given = ["export", str(checkpoint), "-o", str(tmp_path / "out"), f"--sign={tmp_path / 'key'}"]
    assert main.main(given) == 2
    assert "is open to others" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_keys_of_ssh_keygen_sign(made, tmp_path):
    program = shutil.which("ssh-keygen")
    if program is None:
        pytest.skip("ssh-keygen is not installed")
    subprocess.run([program, "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    sealed_folder.write(tmp_path / "bundle", lambda folder: {}, signing.signer(tmp_path / "key"))
    signing.check(tmp_path / "bundle", sealed_folder.verify(tmp_path / "bundle"), tmp_path / "key.pub")


def test_without_the_library_it_is_named(made, tmp_path):
    code = (
        "import sys; sys.modules['cryptography'] = None; from recbole_mind.serving.bundle import signing\n"
        f"try: signing.trusted_keys({str(made / 'trusted')!r})\nexcept Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert "a signature needs the library 'cryptography', which is not installed" in done.stdout
