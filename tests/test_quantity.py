import pytest

from materializer import quantity


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("10m", 600),
        ("30s", 30),
        ("2h", 7200),
        ("1d", 86400),
        ("250ms", 0.25),
        ("1.5 h", 5400),
        (" 45 ", 45),
        (45, 45),
        (0.5, 0.5),
        ("0", 0),
    ],
)
def test_a_duration_is_read_as_seconds(written: object, seconds: float) -> None:
    assert quantity.duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("20MiB", 20 * 2**20),
        ("1GiB", 2**30),
        ("500MB", 500_000_000),
        ("2tib", 2 * 2**40),
        ("1.5KiB", 1536),
        ("12B", 12),
        (17179869184, 17179869184),
        ("0", 0),
    ],
)
def test_a_size_is_read_as_bytes(written: object, number: int) -> None:
    assert quantity.size(written) == number


@pytest.mark.parametrize("written", ["1", 2, "64", " 8 "])
def test_a_count_is_a_whole_number(written: object) -> None:
    assert quantity.count(written) == int(str(written))


@pytest.mark.parametrize(
    ("written", "on"),
    [
        (True, True),
        ("yes", True),
        ("ON", True),
        (1, True),
        (False, False),
        ("0", False),
    ],
)
def test_a_switch_is_true_or_false(written: object, on: bool) -> None:
    assert quantity.switch(written) is on


@pytest.mark.parametrize(
    "written",
    [
        "",
        "-1s",
        "10 minutes",
        "10MiB",
        "nan",
        "inf",
        True,
        None,
        [1],
        "1e3",
        "٣s",
        "1\n2",
    ],
)
def test_no_duration_is_guessed(written: object) -> None:
    with pytest.raises(ValueError, match="a duration such as 250ms"):
        quantity.duration(written)


@pytest.mark.parametrize("written", ["", "-1", "10m", "1M", "1 PiB", True, {}])
def test_no_size_is_guessed(written: object) -> None:
    with pytest.raises(ValueError, match="a size such as 500MB"):
        quantity.size(written)


@pytest.mark.parametrize("written", ["", 0, 65, 1.5, "two", True, "1e1"])
def test_no_count_is_guessed(written: object) -> None:
    with pytest.raises(ValueError, match="from 1 to 64"):
        quantity.count(written)


@pytest.mark.parametrize("written", ["", 2, "maybe", None])
def test_no_switch_is_guessed(written: object) -> None:
    with pytest.raises(ValueError, match="true or false"):
        quantity.switch(written)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "0.25s"), (30, "30s"), (90, "90s"), (600, "10m"), (7200, "2h")],
)
def test_a_duration_is_written_as_it_is_read(seconds: float, text: str) -> None:
    assert quantity.written_duration(seconds) == text
    assert quantity.duration(text) == seconds


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0B"), (1500, "1500B"), (2**20, "1MiB"), (5 * 2**39, "2560GiB")],
)
def test_a_size_is_written_as_it_is_read(number: int, text: str) -> None:
    assert quantity.written_size(number) == text
    assert quantity.size(text) == number
