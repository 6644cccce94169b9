"""Keys that pay: one account however it is kept, low s always, and no secret in any word."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
from pathlib import Path

import pytest
from coincurve import PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import ExposedSecret, SignerError
from bridge.signer import (
    ORDER,
    KeySigner,
    Pkcs11Signer,
    Signer,
    address_of,
    create_keystore,
    open_keystore,
    recoverable,
    sign_transaction,
)
from bridge.transaction import Fees, Transaction, created_address

SECRET = b"\x21" * 32
PASSWORD = "correct horse battery"  # noqa: S105  a test's
MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\nnot this line\n")
    path.chmod(0o600)
    return path


# ---- transactions ----------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    numbers=st.tuples(st.integers(1, 2**40), st.integers(0, 2**40), st.integers(21_000, 10**7)),
    call=st.binary(max_size=300),
    offered=st.tuples(st.integers(0, 10**13), st.integers(0, 10**13)),
    to=st.none() | st.binary(min_size=20, max_size=20),
    legacy=st.booleans(),
)
def test_bytes_are_those_that_eth_account_signs(
    numbers: tuple[int, int, int], call: bytes, offered: tuple[int, int], to: bytes | None, legacy: bool
) -> None:
    chain_id, nonce, gas = numbers
    max_fee, tip = offered
    fees = Fees(max_fee, max_fee if legacy else min(tip, max_fee))
    made = Transaction(chain_id=chain_id, nonce=nonce, to=to, call=call, gas=gas, fees=fees, legacy=legacy)
    other: dict[str, object] = {"chainId": chain_id, "nonce": nonce, "data": call, "gas": gas, "value": 0}
    if to is not None:
        other["to"] = to
    if legacy:
        other["gasPrice"] = fees.max_fee
    else:
        other |= {"maxFeePerGas": fees.max_fee, "maxPriorityFeePerGas": fees.tip, "type": 2}
    expected = Account.sign_transaction(other, SECRET)
    assert sign_transaction(KeySigner(SECRET), made) == bytes(expected.raw_transaction)


def test_deployed_address_is_the_yellow_papers() -> None:
    sender = bytes.fromhex("6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0")
    assert created_address(sender, 0).hex() == "cd234a471b72ba2f1ccf0a70fcaba648a5eecd8d"
    assert created_address(sender, 1).hex() == "343c43a37d37dff08ae8c4a11544c718abb4fcf8"


# ---- keystores -------------------------------------------------------------------------------------------------------


def test_keystore_opens_with_its_password(tmp_path: Path, password_file: Path) -> None:
    path = tmp_path / "key.json"
    address = create_keystore(path, password_file)
    assert path.stat().st_mode & 0o777 == 0o600
    assert open_keystore(path, password_file).address == address
    assert (
        Account.from_key(Account.decrypt(json.loads(path.read_text()), PASSWORD)).address.lower()[2:] == address.hex()
    )


def test_keystore_is_never_replaced(tmp_path: Path, password_file: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text("mine")
    with pytest.raises(SignerError, match="never replaced"):
        create_keystore(path, password_file)
    assert path.read_text() == "mine"


def test_wrong_password_is_said_without_it(tmp_path: Path, password_file: Path) -> None:
    path = tmp_path / "key.json"
    create_keystore(path, password_file)
    password_file.write_text("wrong secret")
    with pytest.raises(SignerError, match="does not open it") as said:
        open_keystore(path, password_file)
    assert "wrong secret" not in str(said.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_password_that_others_may_read_is_refused(tmp_path: Path, password_file: Path, mode: int) -> None:
    path = tmp_path / "key.json"
    create_keystore(path, password_file)
    password_file.chmod(mode)
    with pytest.raises(ExposedSecret, match="chmod 600"):
        open_keystore(path, password_file)


@pytest.mark.parametrize(
    "content", ["", "{}", '{"version": 1}', "[" * 60_000, '{"version": 3, "crypto": 7}', "x" * 70_000]
)
def test_what_is_no_keystore_is_refused(tmp_path: Path, password_file: Path, content: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(content)
    with pytest.raises(SignerError):
        open_keystore(path, password_file)


def test_missing_and_empty_files_are_named(tmp_path: Path, password_file: Path) -> None:
    with pytest.raises(SignerError, match="No such file"):
        open_keystore(tmp_path / "none.json", password_file)
    password_file.write_text("")
    with pytest.raises(SignerError, match="empty password"):
        create_keystore(tmp_path / "key.json", password_file)


def test_key_is_in_no_repr_and_is_not_pickled() -> None:
    signer = KeySigner(SECRET)
    assert SECRET.hex() not in repr(signer)
    with pytest.raises(TypeError):
        pickle.dumps(signer)


# ---- modules ---------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(digest=st.binary(min_size=32, max_size=32), high=st.booleans(), der=st.booleans())
def test_any_form_of_signature_becomes_the_low_one_that_recovers(digest: bytes, high: bool, der: bool) -> None:
    key = PrivateKey(SECRET)
    expected = KeySigner(SECRET).sign(digest)
    s = ORDER - expected.s if high else expected.s
    given_ = encode_dss_signature(expected.r, s) if der else expected.r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert recoverable(given_, digest, key.public_key, "test") == expected


@pytest.mark.parametrize("signature", [bytes(64), b"\xff" * 64, b"", b"\x30\x02\x01", bytes(63)])
def test_what_is_no_signature_is_refused(signature: bytes) -> None:
    with pytest.raises(SignerError):
        recoverable(signature, b"\x01" * 32, PrivateKey(SECRET).public_key, "test")


def test_signature_of_another_key_is_refused() -> None:
    r, s, _ = KeySigner(b"\x09" * 32).sign(b"\x01" * 32)
    with pytest.raises(SignerError, match="not of its public key"):
        recoverable(r.to_bytes(32, "big") + s.to_bytes(32, "big"), b"\x01" * 32, PrivateKey(SECRET).public_key, "test")


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SoftHSM token "relayer" with a key "gas", of secp256k1, made in it. Its PIN file."""
    module = next((each for each in MODULES if Path(each).exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("softhsm2 is not installed")
    import pkcs11
    from pkcs11.util.ec import encode_named_curve_parameters

    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(
        f"directories.tokendir = {tmp_path / 'tokens'}\nobjectstore.backend = file\n"
    )
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    arguments = ["--init-token", "--free", "--label", "relayer", "--pin", "1234-pin", "--so-pin", "5678"]
    subprocess.run(["softhsm2-util", *arguments], check=True, capture_output=True)
    library = pkcs11.lib(module)
    library.reinitialize()
    with library.get_token(token_label="relayer").open(user_pin="1234-pin", rw=True) as session:
        domain = session.create_domain_parameters(
            pkcs11.KeyType.EC,
            {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("1.3.132.0.10")},
            local=True,
        )
        domain.generate_keypair(store=True, label="gas")
    pin = tmp_path / "pin"
    pin.write_text("1234-pin")
    pin.chmod(0o600)
    monkeypatch.setenv("SOFTHSM2_MODULE", module)
    return pin


def test_key_in_a_module_signs_what_recovers_to_its_account(token: Path) -> None:
    module = Path(os.environ["SOFTHSM2_MODULE"])
    signer: Signer = Pkcs11Signer(module, token="relayer", key="gas", pin_file=token)
    made = Transaction(chain_id=137, nonce=3, to=b"\x01" * 20, call=b"abc", gas=50_000, fees=Fees(10, 1))
    for nonce in range(8):
        raw = sign_transaction(signer, made if nonce == 0 else Transaction(
            chain_id=137, nonce=nonce, to=None, call=b"", gas=50_000, fees=Fees(10, 1)
        ))  # fmt: skip
        assert Account.recover_transaction(raw).lower() == "0x" + signer.address.hex()
        assert signer.sign(os.urandom(32)).s <= ORDER // 2
    assert "1234-pin" not in repr(signer)


def test_module_errors_have_names_and_no_pin(token: Path) -> None:
    module = Path(os.environ["SOFTHSM2_MODULE"])
    for other in ({"token": "none"}, {"key": "none"}):
        with pytest.raises(SignerError) as said:
            Pkcs11Signer(module, **{"token": "relayer", "key": "gas", "pin_file": token, **other})  # type: ignore[arg-type]
        assert "1234-pin" not in str(said.value)
    token.write_text("wrong-pin")
    with pytest.raises(SignerError, match="PinIncorrect") as said:
        Pkcs11Signer(module, token="relayer", key="gas", pin_file=token)
    assert "wrong-pin" not in str(said.value)
    with pytest.raises(SignerError):
        Pkcs11Signer(Path("/none.so"), token="relayer", key="gas", pin_file=token)


def test_address_is_that_of_the_public_key() -> None:
    assert "0x" + address_of(PrivateKey(SECRET).public_key).hex() == Account.from_key(SECRET).address.lower()
