"""The key store in a PKCS#11 token (SoftHSM2 here): what lies in the token, and what happens when it says no."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pkcs11
import pytest
from pkcs11 import Attribute, ObjectClass

from pes_sim.errors import IntegrityError, KeysGone, KeyStoreFailed, StorageFailed
from pes_sim.psd.keys import Curve, Slot, wrap_secret
from pes_sim.psd.pkcs11 import Pkcs11KeyStore
from pes_sim.psd.token import log_in, log_out
from tests import softhsm
from tests.psd.keystores import TokenBench

TRANSPORT = b"t" * 32


@pytest.fixture
def bench() -> Iterator[TokenBench]:
    made = TokenBench()
    yield made
    made.close()


def objects(bench: TokenBench, kind: str = "key", device: str = "A") -> list[Any]:
    """The token's objects of a device."""
    session = log_in(bench.module, softhsm.TOKEN, softhsm.PIN)
    try:
        return list(session.get_objects({Attribute.LABEL: f"pes-sim {kind}: {bench.prefix}{device}"}))
    finally:
        log_out(bench.module, softhsm.TOKEN)


def filled(bench: TokenBench) -> Pkcs11KeyStore:
    made = bench.open()
    made.generate(Slot.INDICIUM, Curve.P224)
    made.generate(Slot.MESSAGE)
    made.put(Slot.TRANSPORT, TRANSPORT)
    made.put(Slot.USER, b"secret")
    made.unwrap_into(Slot.MAC, wrap_secret(Slot.MAC, TRANSPORT, b"m" * 32))
    made.derive("log")
    return made


def test_all_keys_are_sensitive_and_cannot_be_taken_out(bench: TokenBench) -> None:
    filled(bench)
    found = [thing for kind in ("key", "seal", "derive") for thing in objects(bench, kind)]
    kinds = sorted(thing.object_class.name for thing in found)
    assert kinds == ["PRIVATE_KEY"] * 2 + ["SECRET_KEY"] * 5
    for thing in found:
        assert (thing[Attribute.TOKEN], thing[Attribute.PRIVATE]) == (True, True)
        assert (thing[Attribute.SENSITIVE], thing[Attribute.EXTRACTABLE]) == (True, False)
        secret = thing.object_class is ObjectClass.SECRET_KEY
        with pytest.raises(pkcs11.AttributeSensitive):
            thing[Attribute.VALUE]
        uses = [name for name in ("SIGN", "UNWRAP", "ENCRYPT", "DECRYPT", "WRAP", "DERIVE") if allowed(thing, name)]
        assert uses in (["SIGN"], ["UNWRAP"]) if secret else ["SIGN"]


def allowed(thing: Any, name: str) -> bool:
    try:
        return bool(thing[Attribute[name]])
    except pkcs11.AttributeTypeInvalid:
        return False


def test_a_cut_while_a_pair_is_made_leaves_no_public_key_in_the_token(bench: TokenBench) -> None:
    store = bench.open()
    session = store._session

    class Cut:
        """A session in which the power goes before the public key is taken away again."""

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def __getitem__(self, name: Any) -> Any:
            return self._inner[name]

        def create_domain_parameters(self, *arguments: Any, **more: Any) -> Any:
            return Cut(self._inner.create_domain_parameters(*arguments, **more))

        def generate_keypair(self, **asked: Any) -> Any:
            public, private = self._inner.generate_keypair(**asked)
            return Cut(public), private

        def destroy(self) -> None:
            """The power is gone."""

    store._session = Cut(session)
    store.generate(Slot.INDICIUM)
    store._session = session
    public = [thing for thing in objects(bench) if thing.object_class is ObjectClass.PUBLIC_KEY]
    assert [thing[Attribute.TOKEN] for thing in public] == [False]  # of the session only, and gone with it
    public[0].destroy()


def test_replaced_keys_leave_the_token_at_the_next_power_on(bench: TokenBench) -> None:
    store = bench.open()
    store.generate(Slot.INDICIUM)
    store.generate(Slot.NEXT_INDICIUM)
    store.promote(Slot.NEXT_INDICIUM, Slot.INDICIUM)
    store.put(Slot.MAC, b"secret")
    store.put(Slot.MAC, b"another secret")
    assert len(objects(bench)) == 4
    again = bench.open()
    again.load(store.wrapped())
    assert len(objects(bench)) == 2
    assert again.has(Slot.INDICIUM)


def test_keys_of_a_commit_that_failed_stay_for_one_load_more(bench: TokenBench) -> None:
    store = bench.open()
    store.generate(Slot.INDICIUM)
    old = store.wrapped()
    store.generate(Slot.INDICIUM)
    store.load(old)
    assert len(objects(bench)) == 2
    store.load(old)
    assert len(objects(bench)) == 1


def test_a_blank_devices_power_on_removes_what_was_never_committed(bench: TokenBench) -> None:
    bench.open().generate(Slot.INDICIUM)
    bench.open().load(b"")
    assert objects(bench) == []


def test_zeroizing_leaves_the_token_nothing_but_what_reads_the_registers(bench: TokenBench) -> None:
    filled(bench).zeroize()
    assert objects(bench) == objects(bench, "seal") == []
    assert len(objects(bench, "derive")) == 1


def test_a_power_cut_in_zeroize_is_finished_at_the_next_load(bench: TokenBench) -> None:
    blob = filled(bench).wrapped()
    (seal,) = objects(bench, "seal")
    seal.destroy()
    assert len(objects(bench)) == 5
    with pytest.raises(KeysGone, match="zeroized"):
        bench.open().load(blob)
    assert objects(bench) == []


def test_zeroizing_destroys_the_seal_first(bench: TokenBench) -> None:
    store = filled(bench)
    labels: list[str] = []

    class Watched:
        def get_objects(self, query: dict[Any, Any]) -> list[Any]:
            labels.append(query[Attribute.LABEL].split(":")[0])
            return []

    store._session = Watched()
    store.zeroize()
    assert labels == ["pes-sim seal", "pes-sim key"]


def test_an_older_copy_of_a_device_whose_key_was_replaced_is_told_so(bench: TokenBench) -> None:
    store = bench.open()
    store.generate(Slot.INDICIUM)
    copy = store.wrapped()
    store.generate(Slot.INDICIUM)
    now = store.wrapped()
    bench.open().load(now)
    with pytest.raises(KeysGone, match="'indicium' any more.*older copy"):
        bench.open().load(copy)
    # The device itself is none the worse for it.
    bench.open().load(now)


def test_one_stores_end_does_not_log_the_others_out(bench: TokenBench) -> None:
    first, second = bench.open("A"), bench.open("B")
    point = second.generate(Slot.INDICIUM)
    first.close()
    first.close()
    assert second.public_point(Slot.INDICIUM) == point
    assert len(second.sign(Slot.INDICIUM, b"message")) == 64
    second.close()
    assert not second.has(Slot.INDICIUM)
    assert bench.open().derive("log")


def test_a_wrong_pin_is_tried_once_and_shown_nowhere(bench: TokenBench, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    token = pkcs11.lib(bench.module).get_token(token_label=softhsm.LOCKED)

    class Counted:
        def open(self, **arguments: Any) -> Any:
            opened.append(arguments)
            return token.open(**arguments)

    monkeypatch.setattr(pkcs11, "lib", lambda module: type("Library", (), {"get_token": lambda self, **_: Counted()})())
    with pytest.raises(KeyStoreFailed, match=r"PinIncorrect.*not tried again") as caught:
        Pkcs11KeyStore(bench.module, softhsm.LOCKED, "wrong-pin", "A")
    assert len(opened) == 1
    assert "wrong-pin" not in f"{caught.value!r} {caught.value} {caught.value.detail}"
    assert caught.value.__suppress_context__


def test_a_token_that_is_not_there_is_named(bench: TokenBench) -> None:
    with pytest.raises(KeyStoreFailed, match=r"'no such token' \(NoSuchToken\).*connected"):
        Pkcs11KeyStore(bench.module, "no such token", softhsm.PIN, "A")


@pytest.mark.parametrize("module", ["/no/such/module.so", __file__, ""])
def test_a_module_that_is_none_is_named(module: str) -> None:
    with pytest.raises(KeyStoreFailed, match="module .*Give the path"):
        Pkcs11KeyStore(module, softhsm.TOKEN, softhsm.PIN, "A")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(KeyStoreFailed, match=r"pip install 'pes-sim\[pkcs11\]'"):
        Pkcs11KeyStore("any", "any", "any", "any")


# The library's own search complains once more when it is thrown away.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_removed_token_is_a_failure_and_no_loss(bench: TokenBench) -> None:
    store = filled(bench)
    blob = store.wrapped()
    for thing in objects(bench):
        thing.destroy()
    wrapped = wrap_secret(Slot.MAC, TRANSPORT, b"n" * 32)
    calls: list[Callable[[], object]] = [
        lambda: store.sign(Slot.MESSAGE, b""),
        lambda: store.mac(Slot.USER, b""),
        lambda: store.unwrap_into(Slot.MAC, wrapped),
    ]
    for call in calls:
        with pytest.raises(KeyStoreFailed, match="cannot .*HandleInvalid.*Check that the token is connected"):
            call()
    store._session.close()
    calls = [
        lambda: store.generate(Slot.INDICIUM),
        lambda: store.put(Slot.MAC, b"secret"),
        lambda: store.load(blob),
        lambda: bench.open().derive("log"),
        store.zeroize,
    ]
    for call in calls:
        with pytest.raises(StorageFailed, match="cannot"):
            call()
    (*others, last), bench.opened = bench.opened, []
    for other in others:
        other.close()
    with pytest.raises(KeyStoreFailed, match="be closed"):
        last.close()


def test_a_blob_without_room_for_a_seal_is_refused(bench: TokenBench) -> None:
    store = filled(bench)
    with pytest.raises(IntegrityError, match="seal"):
        store.load(store.wrapped()[:20])


def test_devices_whose_names_look_alike_share_nothing(bench: TokenBench) -> None:
    store, other = bench.open("A"), bench.open(f"A {uuid.uuid4()}")
    store.generate(Slot.INDICIUM)
    other.generate(Slot.INDICIUM)
    blob = other.wrapped()
    store.zeroize()
    other.load(blob)
    assert other.has(Slot.INDICIUM)


class TestWithoutSoftHsm:
    """A missing SoftHSM2 skips these tests on a developer's machine, and fails them where it is required."""

    @pytest.fixture(autouse=True)
    def none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(softhsm, "_LIBRARIES", ())

    def test_it_is_skipped_with_the_reason(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(softhsm.REQUIRE, raising=False)
        with pytest.raises(pytest.skip.Exception, match="apt-get install softhsm2"):
            softhsm.module.__wrapped__()

    def test_it_fails_where_it_is_required(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(softhsm.REQUIRE, "1")
        with pytest.raises(pytest.fail.Exception, match=softhsm.REQUIRE):
            softhsm.module.__wrapped__()
