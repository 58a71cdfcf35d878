"""Images of devices, as some version of the program left them: how one is kept, opened, and made.

`.venv/bin/python -m tests.psd.image tests/vectors/images/format-N COMMIT` makes the next one, as the program writes it
today. Those that are there stay as they are: they stand for what users have on their disks.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Final

from pes_sim.clock import HOUR
from pes_sim.entropy import SeededEntropy
from pes_sim.errors import AuthenticationFailed
from pes_sim.provider.pki import Pki
from pes_sim.psd import messages, state
from pes_sim.psd.access import user_challenge
from pes_sim.psd.device import Psd
from pes_sim.psd.fields import Values, pack, unpack
from pes_sim.psd.keys import KeyStore
from pes_sim.psd.roles import Role
from pes_sim.psd.softkeys import SoftwareKeyStoreNotForProduction
from pes_sim.psd.storage import FileStorage
from pes_sim.psd.vault import FileVault
from tests.rig import MASTER, SECRET, SERIAL, Rig, correction, piece, pki

FOLDER: Final = Path(__file__).parent.parent / "vectors" / "images"
BANK: Final = 32768
PACKAGE: Final = b"\x7fnew software\0" * 190
VERSION: Final = 0x00_02_00_00
READ: Final = ("get_info", "get_status", "get_registers", "get_certificates")
"""Services whose answers are kept with an image."""


class OnDisk(Rig):
    """A device in a directory: `psd/` with its log, `vault`, and `provider/` with the test CA that it trusts."""

    def __init__(self, directory: Path, kept: dict[str, Any]) -> None:
        self.directory, self.kept = directory, kept
        super().__init__(storage=FileStorage(directory / "psd"), bank=kept["bank"])

    def power_on(self, *, log_in: bool = True) -> Psd:
        self.now = max(getattr(self, "now", 0), self.kept["now"])
        self.vault = FileVault(self.directory / "vault")  # type: ignore[assignment]
        return super().power_on(log_in=False)

    def key_store(self, entropy: SeededEntropy) -> KeyStore:
        master = bytes.fromhex(self.kept["master"])
        return SoftwareKeyStoreNotForProduction(master, entropy.child("keys"), self.vault)

    def user_proof(self, nonce: bytes, secret: bytes = b"") -> bytes:
        secret = secret or bytes.fromhex(self.kept["secret"])
        return hmac.digest(secret, user_challenge(self.kept["psd_serial"], nonce), "sha256")

    def new_id(self) -> bytes:
        """None that the image has seen."""
        return b"new" + super().new_id()[3:]

    def sign(self, kind: str, values: Values) -> bytes:
        """A message of the provider whom the device trusts."""
        provider = Pki(self.directory / "provider", SeededEntropy("image"), self.now, may_make=False).provider
        return messages.sign(kind, values, provider.sign)

    def medium(self) -> dict[str, bytes]:
        """All that the device has stored."""
        return {name: self.storage.read(name, 0, self.storage.size(name)) for name in self.storage.names()}

    def log(self) -> dict[str, str]:
        """By the number of its record, the digest of each entry as it is on the wire."""
        entries: list[bytes] = []
        following = 1
        while following:
            chunk = self.ask("read_log", first_record=following)
            entries += chunk["entries"]
            following = chunk["next_record"]
        return {str(unpack(entry)["record"]): hashlib.sha256(entry).hexdigest()[:16] for entry in entries}


def describe(name: str) -> dict[str, Any]:
    """What was noted when the image was made."""
    return dict(json.loads((FOLDER / f"{name}.json").read_text()))


def lay_out(name: str, directory: Path) -> dict[str, Any]:
    """Writes the image into a directory; gives what was noted."""
    directory.chmod(0o700)
    with zipfile.ZipFile(FOLDER / f"{name}.zip") as image:
        for item in image.namelist():
            path = directory / item
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.touch(mode=0o600)
            path.write_bytes(image.read(item))
    return describe(name)


# Making one


class Recorded(OnDisk):
    """Notes what was asked and answered."""

    def __init__(self, directory: Path, kept: dict[str, Any]) -> None:
        self.answered: list[dict[str, str]] = []
        super().__init__(directory, kept)

    def note(self, name: str, **request: Any) -> Values:
        request_id = self.new_id()
        answer = self.ask(name, request_id, **request)
        kept = {"request": pack(request), "request_id": request_id, "answer": pack(answer)}
        self.answered.append({"service": name} | {key: value.hex() for key, value in kept.items()})
        return answer

    def new_id(self) -> bytes:
        return Rig.new_id(self)


def live(rig: Recorded) -> None:
    """What happens to the device before its image is taken: something of everything, and something of it half done."""
    day = "2026-11-21"
    for postage in range(1, 121):
        rig.dispense(postage_mills=postage)
    rig.check_in()
    rig.refill(5_000)
    rig.ask("software_begin", message=rig.order("software_manifest", software_id=VERSION, size=len(PACKAGE),
                                                digest=hashlib.sha256(PACKAGE).digest()))  # fmt: skip
    rig.ask("software_data", offset=0, data=PACKAGE[:1000])
    rig.challenge()
    with contextlib.suppress(AuthenticationFailed):
        rig.ask("authenticate", role=Role.INSPECTOR.value, proof=b"wrong")
    rig.log_in()
    rig.now += HOUR
    spoiled = rig.note("dispense", **piece(mailing_date=day))["record"]
    rig.note("dispense_batch", pieces=[pack(piece(mailing_date=day, postage_mills=100 + n)) for n in range(3)])
    rig.note("redate", **correction(mailing_date="2026-11-22"))
    rig.note("correct_amount", **piece(mailing_date=day, postage_mills=40))
    rig.note("reprint", original=spoiled)
    rig.note("refill_begin", amount_mills=7_000)
    rig.ask("lock", message=rig.order("lock_order", lock_reasons=["provider lock", "inspection due"]))


def make(target: Path, commit: str) -> None:
    """Two files: `target.zip`, what the device stored, and `target.json`, what it answers then."""
    kept: dict[str, Any] = {
        "format": state.FORMAT, "written_by": commit, "bank": BANK, "psd_serial": SERIAL, "master": MASTER.hex(),
        "secret": SECRET.hex(), "package": PACKAGE.hex(), "now": Rig().now,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        rig = Recorded(directory, kept)
        rig.initialize()
        rig.authorize()
        rig.log_in()
        rig.check_in()
        rig.refill(50_000)
        live(rig)
        kept |= {"now": rig.now, "log": rig.log(), "answered": rig.answered}
        rig.power_on()
        kept["read"] = {name: pack(rig.ask(name)).hex() for name in READ}
        kept["registers"] = rig.registers()
        rig.storage.close()
        (directory / "psd" / "lock").unlink()
        authority = Path(pki()._directory)
        files = {f"provider/{path.name}": path for path in sorted(authority.iterdir())}
        files |= {"vault": directory / "vault"} | {f"psd/{p.name}": p for p in sorted((directory / "psd").iterdir())}
        with zipfile.ZipFile(target.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED, compresslevel=9) as image:
            for name, path in files.items():
                image.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    target.with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n")


def values(packed: str) -> Values:
    """What was packed."""
    return unpack(bytes.fromhex(packed))


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2])
