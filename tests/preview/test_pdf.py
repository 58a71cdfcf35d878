"""The files: whole, repeatable and safe, whatever happens while they grow."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pypdfium2
import pytest
from PIL import Image

from pes_sim.errors import LayoutError, PayloadError, UsageError
from pes_sim.indicium import symbol
from pes_sim.indicium.layout import builtin
from pes_sim.preview import document, sheets
from pes_sim.preview.drawing import NOTICE
from pes_sim.preview.image import pages
from pes_sim.preview.pdf import PdfPages, PicturePages, open_pages
from pes_sim.preview.stationery import kind_of
from tests.preview.made import CROWDED, PAYLOADS, PIECE, REAL, attached, page_count, payloads_of, sized, text_of, write

# --- the file --------------------------------------------------------------------------------------------------------


def test_one_page_a_piece_of_a_number_10_envelope(tmp_path: Path) -> None:
    with PdfPages(tmp_path / "a.pdf", title="Zoë\N{RIGHT SINGLE QUOTATION MARK}s mail") as pdf:
        for number in range(3):
            pdf.add(replace(PIECE, piece_count=number))
            assert pdf.pages == number + 1
    with pypdfium2.PdfDocument(tmp_path / "a.pdf") as document:
        assert [page.get_size() for page in document] == [(9.5 * 72, 4.125 * 72)] * 3
        about = document.get_metadata_dict(skip_empty=True)
    assert about["Title"] == "Zoë\N{RIGHT SINGLE QUOTATION MARK}s mail"
    assert about["Subject"] == "SPECIMEN. NOT VALID POSTAGE"
    assert [f"PIECE {n}" in text_of(tmp_path / "a.pdf", page=n) for n in range(3)] == [True] * 3


def test_the_same_pieces_give_the_same_bytes(tmp_path: Path) -> None:
    first = write(tmp_path / "a.pdf", PIECE, CROWDED, sized(32)).read_bytes()
    assert write(tmp_path / "b.pdf", PIECE, CROWDED, sized(32)).read_bytes() == first
    program = (
        "import sys; sys.path.insert(0, '.'); from pathlib import Path; from tests.preview import test_pdf as t;"
        "t.write(Path(sys.argv[1]), t.PIECE, t.CROWDED, t.sized(32))"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "c.pdf")], check=True)
    assert (tmp_path / "c.pdf").read_bytes() == first
    assert write(tmp_path / "d.pdf", PIECE).read_bytes() != first


def test_nothing_is_at_the_path_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(b"yesterday's")
    pdf = PdfPages(path, title="")
    pdf.add(PIECE)
    assert path.read_bytes() == b"yesterday's"
    pdf.close()
    assert page_count(path) == 1
    assert os.listdir(tmp_path) == ["a.pdf"]
    pdf.close()
    with pytest.raises(UsageError, match="no page can be added"):
        pdf.add(PIECE)


@pytest.mark.parametrize("error", [RuntimeError("no funds"), KeyboardInterrupt()])
def test_pages_printed_before_an_error_are_kept(tmp_path: Path, error: BaseException) -> None:
    def job() -> None:
        with PdfPages(tmp_path / "a.pdf", title="") as pdf:
            pdf.add(PIECE)
            pdf.add(PIECE)
            raise error

    with pytest.raises(type(error)):
        job()
    assert page_count(tmp_path / "a.pdf") == 2
    assert os.listdir(tmp_path) == ["a.pdf"]


@pytest.mark.parametrize("form", ["pdf", "png", "svg"])
@pytest.mark.parametrize("error", [RuntimeError("a bad line"), KeyboardInterrupt()])
def test_pages_that_cost_nothing_are_all_there_or_none(tmp_path: Path, error: BaseException, form: str) -> None:
    def job() -> None:
        with open_pages(tmp_path / f"a.{form}", title="", dpi=72, paid=False) as out:
            out.add(PIECE)
            raise error

    (tmp_path / f"a.{form}").write_bytes(b"yesterday's")
    with pytest.raises(type(error)):
        job()
    assert (tmp_path / f"a.{form}").read_bytes() == b"yesterday's"
    assert os.listdir(tmp_path) == [f"a.{form}"]


@pytest.mark.parametrize("form", ["pdf", "svg"])
def test_a_page_that_is_paid_for_is_kept_also_where_its_place_is_taken_meanwhile(tmp_path: Path, form: str) -> None:
    def job() -> None:
        with open_pages(tmp_path / f"a b.{form}", title="") as out:
            out.add(PIECE)
            (tmp_path / f"a b.{form}").mkdir()

    with pytest.raises(UsageError, match=r"a b\.\w+ cannot be written: it is a directory\. What was drawn") as told:
        job()
    (left,) = (path for path in tmp_path.iterdir() if path.is_file())
    assert told.value.hint.endswith(f"then: mv {left} '{tmp_path / f'a b.{form}'}'")
    (tmp_path / f"a b.{form}").rmdir()
    subprocess.run(told.value.hint.partition("then: ")[2], shell=True, check=True)
    assert os.listdir(tmp_path) == [f"a b.{form}"]


@pytest.mark.parametrize("payload", REAL, ids=range(len(REAL)))
@pytest.mark.parametrize("form", ["pdf", "png", "svg"])
def test_a_real_indicium_comes_onto_no_page(tmp_path: Path, payload: bytes, form: str) -> None:
    with open_pages(tmp_path / f"a.{form}", title="") as out:
        out.add(PIECE)
        for layout in (builtin("ibi"), builtin("ibi_lite")):
            with pytest.raises((LayoutError, PayloadError)):
                out.add(replace(PIECE, payload=payload, layout=layout))
    assert out.pages == 1


def test_a_payload_that_would_read_as_a_real_providers_adds_no_page(tmp_path: Path) -> None:
    real = PIECE.payload[:1] + b"02" + PIECE.payload[3:]
    with PdfPages(tmp_path / "a.pdf", title="") as pdf:
        pdf.add(PIECE)
        with pytest.raises(LayoutError, match="of provider '02' is not drawn"):
            pdf.add(replace(PIECE, payload=real))
        with pytest.raises(PayloadError, match="truncated"):
            pdf.add(replace(PIECE, payload=PIECE.payload[:-1]))
        pdf.add(PIECE)
    assert page_count(tmp_path / "a.pdf") == 2
    assert payloads_of(attached(tmp_path / "a.pdf")) == [PIECE.payload, PIECE.payload]
    (first, second) = pages(tmp_path / "a.pdf")
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("name", ["01S10001234567", " 01S10001234567", "\uff10\uff11S10001234567"])
def test_a_real_providers_meter_stands_in_no_line_that_people_read(tmp_path: Path, name: str) -> None:
    """The last one's digits are of full width: what a font makes of them is nothing to rely on."""
    with PdfPages(tmp_path / "a.pdf", title="") as pdf:
        with pytest.raises(LayoutError, match="is not drawn: those of specimens begin with 99"):
            pdf.add(replace(PIECE, meter_serial=name))
        pdf.add(PIECE)
    assert page_count(tmp_path / "a.pdf") == 1


def test_an_error_before_the_first_page_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="early"), PdfPages(tmp_path / "a.pdf", title="") as pdf:
        raise RuntimeError("early")
    assert os.listdir(tmp_path) == []
    pdf.close()


def test_no_page_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"yesterday's")
    with pytest.raises(UsageError, match=r"a\.pdf is not written: no mail piece was printed"):
        write(tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes() == b"yesterday's"
    assert os.listdir(tmp_path) == ["a.pdf"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.pdf").write_bytes(b"yesterday's")

    def no_room(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(UsageError, match=r"a\.pdf cannot be written: No space left on device"):
        write(tmp_path / "a.pdf", PIECE)
    assert (tmp_path / "a.pdf").read_bytes() == b"yesterday's"
    assert os.listdir(tmp_path) == ["a.pdf"]


def test_the_file_is_on_the_disk_before_it_is_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []

    def watched(descriptor: int) -> None:
        (file,) = tmp_path.iterdir()
        synced = os.readlink(f"/proc/self/fd/{descriptor}")
        assert synced in (str(file), str(tmp_path))
        seen.append((file.name, file.read_bytes().rstrip().endswith(b"%%EOF")))

    monkeypatch.setattr(os, "fsync", watched)
    write(tmp_path / "a.pdf", PIECE)
    (name, whole), of_the_directory = seen
    assert whole
    assert name != "a.pdf"
    assert of_the_directory == ("a.pdf", True)


@pytest.mark.parametrize(("name", "says"), [("none/a.pdf", "No such file or directory"), (".", "it is a directory")])
def test_a_path_that_cannot_be_written_is_said_before_postage_is_spent(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"cannot be written: {says}"):
        PdfPages(tmp_path / name, title="")
    assert os.listdir(tmp_path) == []


def test_two_files_grow_side_by_side(tmp_path: Path) -> None:
    with PdfPages(tmp_path / "a.pdf", title="") as one, PdfPages(tmp_path / "b.pdf", title="") as other:
        one.add(PIECE)
        other.add(sized(32))
        one.add(sized(52))
    found = [symbol.read(page) for name in ("a.pdf", "b.pdf") for page in pages(tmp_path / name)]
    assert found == [[PIECE.payload], [PAYLOADS["imi_std"]], [PAYLOADS["imi_min"]]]


def test_importing_the_module_loads_no_library() -> None:
    program = (
        "import sys, pes_sim.preview.pdf; print([n for n in ('PIL', 'reportlab', 'zxingcpp') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- a disk that fills up --------------------------------------------------------------------------------------------


class Full:
    """A file whose disk is full after so many bytes, and has room again later."""

    def __init__(self, file: IO[bytes], room: int) -> None:
        self._file = file
        self.room = room

    def write(self, data: bytes) -> int:
        if len(data) > self.room:
            raise OSError(28, "No space left on device")
        self.room -= len(data)
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("room", [100, 2500, 4000])
def test_a_file_that_broke_off_is_never_put_in_its_place(tmp_path: Path, room: int) -> None:
    """Also when the disk has room again before the end: what is missing in the middle stays missing."""
    (tmp_path / "a.pdf").write_bytes(b"yesterday's")

    def job() -> None:
        with PdfPages(tmp_path / "a.pdf", title="") as pdf:
            full = Full(pdf._file, room)
            pdf._document._file = full  # type: ignore[assignment]
            try:
                for _ in range(4):
                    pdf.add(PIECE)
            finally:
                full.room = 10**9

    with pytest.raises(UsageError, match=r"a\.pdf cannot be written: No space left on device\. Give .* with room"):
        job()
    assert (tmp_path / "a.pdf").read_bytes() == b"yesterday's"
    assert os.listdir(tmp_path) == ["a.pdf"]


def test_an_interruption_in_the_middle_of_a_page_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its offsets could be wrong. The pieces are drawn again by going on."""

    def job() -> None:
        with PdfPages(tmp_path / "a.pdf", title="") as pdf:
            pdf.add(PIECE)
            monkeypatch.setattr(document.Document, "_stream", interrupted)
            pdf.add(PIECE)

    def interrupted(self: document.Document, data: bytes, entries: bytes) -> int:
        self._file.write(data[:100])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job()
    assert os.listdir(tmp_path) == []


def test_an_interruption_while_a_full_page_is_drawn_leaves_no_file_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pieces that waited for it would be on no page of a file that looks whole."""
    (tmp_path / "a.pdf").write_bytes(b"an older one")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    def job() -> None:
        with PdfPages(tmp_path / "a.pdf", title="", kind=kind_of("tape-roll")) as pdf:
            for _ in range(kind_of("tape-roll").several - 1):
                pdf.add(PIECE)
            monkeypatch.setattr(sheets, "_ARRANGED", dict.fromkeys(sheets._ARRANGED, interrupted))
            pdf.add(PIECE)

    with pytest.raises(KeyboardInterrupt):
        job()
    assert os.listdir(tmp_path) == ["a.pdf"]
    assert (tmp_path / "a.pdf").read_bytes() == b"an older one"


def test_who_goes_on_after_that_is_told_at_the_end(tmp_path: Path) -> None:
    pdf = PdfPages(tmp_path / "a.pdf", title="")
    whole, pdf._document._file = pdf._document._file, Full(pdf._file, 100)  # type: ignore[assignment]
    with pytest.raises(UsageError, match="No space left"):
        pdf.add(PIECE)
    pdf._document._file = whole
    with pytest.raises(UsageError, match=r"a page of it could not be\. Make room"):
        pdf.add(PIECE)
    with pytest.raises(UsageError, match=r"a page of it could not be\. Make room"):
        pdf.close()
    assert os.listdir(tmp_path) == []


def test_a_full_disk_at_the_last_flush_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pdf = PdfPages(tmp_path / "a.pdf", title="")
    pdf.add(PIECE)

    class Stubborn:
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

        close = flush

    file, pdf._file = pdf._file, Stubborn()  # type: ignore[assignment]
    with pytest.raises(UsageError, match="No space left on device"):
        pdf.close()
    file.close()
    assert os.listdir(tmp_path) == []


def test_a_full_disk_keeps_no_part_of_what_waited_for_the_end(tmp_path: Path) -> None:
    """The attachment waits in a file of its own; that it cannot be let go of hides nothing, and leaves nothing."""

    class Stubborn(io.BytesIO):
        def close(self) -> None:
            if not self.closed:
                super().close()
                raise OSError(28, "No space left on device")

    def job() -> None:
        with PdfPages(tmp_path / "a.pdf", title="") as pdf:
            pdf._document.close()
            pdf._document._waiting = Stubborn()
            pdf._document._file = Full(pdf._file, 2500)  # type: ignore[assignment]
            for _ in range(4):
                pdf.add(PIECE)

    with pytest.raises(UsageError, match=r"a\.pdf cannot be written: No space left on device\. Give .* with room"):
        job()
    assert os.listdir(tmp_path) == []


# --- pictures --------------------------------------------------------------------------------------------------------


def test_a_png_is_the_page_that_the_pdf_has(tmp_path: Path) -> None:
    for form in ("png", "pdf"):
        with open_pages(tmp_path / f"a.{form}", title="Zoë's mail", dpi=150) as out:
            out.add(PIECE)
        assert out.where == str(tmp_path / f"a.{form}")
    (drawn,), (scanned,) = pages(tmp_path / "a.pdf", 150), pages(tmp_path / "a.png")
    assert drawn.size == scanned.size == (1425, 619)
    assert symbol.read(scanned) == [PIECE.payload]
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "RGB"
        assert picture.info["Comment"] == NOTICE
        assert picture.info["Title"] == "Zoë's mail"
        assert round(picture.info["dpi"][0]) == 150


@pytest.mark.parametrize("form", ["png", "svg"])
def test_several_pages_become_several_pictures(tmp_path: Path, form: str) -> None:
    with open_pages(tmp_path / f"a.{form}", title="", dpi=72) as out:
        for number in range(3):
            out.add(replace(PIECE, piece_count=number))
    assert out.where == f"{tmp_path / f'a-1.{form}'} to {tmp_path / f'a-3.{form}'}"
    assert sorted(os.listdir(tmp_path)) == [f"a-{number}.{form}" for number in (1, 2, 3)]


def test_pictures_drawn_before_an_error_are_kept(tmp_path: Path) -> None:
    def job() -> None:
        with open_pages(tmp_path / "a.svg", title="") as out:
            out.add(PIECE)
            out.add(PIECE)
            raise RuntimeError("no funds")

    with pytest.raises(RuntimeError):
        job()
    assert sorted(os.listdir(tmp_path)) == ["a-1.svg", "a-2.svg"]


def test_pictures_that_could_not_be_written_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    def job() -> None:
        with PicturePages(tmp_path / "a.svg", form="svg", title="") as out:
            out.add(PIECE)
            monkeypatch.setattr(os, "fsync", no_room)
            out.add(PIECE)

    with pytest.raises(UsageError, match="No space left on device"):
        job()
    assert os.listdir(tmp_path) == []


def test_a_format_is_chosen_by_the_end_or_by_name(tmp_path: Path) -> None:
    with open_pages(tmp_path / "a.dat", form="svg", title="") as out:
        out.add(PIECE)
    assert (tmp_path / "a.dat").read_bytes().startswith(b"<svg")
    with pytest.raises(UsageError, match=r"a\.tiff names no format. It ends in \.pdf, \.png, \.svg; or give one"):
        open_pages(tmp_path / "a.tiff", title="")


def test_a_resolution_that_makes_no_sense_is_refused_before_postage_is_spent(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="10 dpi is no useful resolution"):
        open_pages(tmp_path / "a.png", title="", dpi=10)
    with pytest.raises(UsageError, match="a page tape-roll at 1200 dpi has more than 80,000,000 pixels"):
        open_pages(tmp_path / "a.png", title="", dpi=1200, kind=kind_of("tape-roll"))


@pytest.mark.parametrize("form", ["png", "svg"])
def test_a_picture_that_cannot_be_written_is_said_before_postage_is_spent(tmp_path: Path, form: str) -> None:
    with pytest.raises(UsageError, match="cannot be written: No such file or directory"):
        open_pages(tmp_path / "none" / f"a.{form}", title="")


def test_a_directory_where_a_later_picture_would_go_is_said_before_postage_is_spent(tmp_path: Path) -> None:
    (tmp_path / "a-2.svg").mkdir()
    with pytest.raises(UsageError, match=r"a-2\.svg cannot be written: it is a directory"):
        open_pages(tmp_path / "a.svg", title="")
    with open_pages(tmp_path / "a.svg", title="", paid=False) as out:  # one picture does not need it
        out.add(PIECE)
    assert sorted(os.listdir(tmp_path)) == ["a-2.svg", "a.svg"]


@pytest.mark.parametrize("form", ["png", "svg"])
def test_what_goes_on_after_one_picture_leaves_its_piece_there_once(tmp_path: Path, form: str) -> None:
    for pieces in (1, 3):
        with open_pages(tmp_path / f"a.{form}", title="") as out:
            for _ in range(pieces):
                out.add(PIECE)
    assert sorted(os.listdir(tmp_path)) == [f"a-{number}.{form}" for number in (1, 2, 3)]


@pytest.mark.parametrize("form", ["png", "svg"])
def test_a_name_that_has_no_room_for_a_number_is_said_before_postage_is_spent(tmp_path: Path, form: str) -> None:
    """One picture would fit, the second would not."""
    name = "x" * (255 - len(form) - 1) + f".{form}"
    (tmp_path / name).touch()
    with pytest.raises(UsageError, match=rf"-999999\.{form} cannot be written: File name too long"):
        open_pages(tmp_path / name, title="")


def test_many_pictures_without_a_place_are_counted(tmp_path: Path) -> None:
    def job() -> None:
        with open_pages(tmp_path / "a.svg", title="") as out:
            for number in range(1, 6):
                out.add(PIECE)
                (tmp_path / f"a-{number}.svg").mkdir()

    with pytest.raises(UsageError, match=r"a-1\.svg cannot be written.*a-3\.svg \(and 2 more\)"):
        job()
    assert len([path for path in tmp_path.iterdir() if path.is_file()]) == 5


def test_what_has_no_room_is_said_before_postage_is_spent(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no room on page envelope-10-fim"):
        PdfPages(tmp_path / "a.pdf", title="", kind=kind_of("envelope-10-fim"), layout=sized(64).layout)
    assert os.listdir(tmp_path) == []
