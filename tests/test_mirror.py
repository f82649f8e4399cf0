from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "materializer"
TESTS = ROOT / "tests"

# These tests are about the program from outside, not about one module.
FREE = {
    "process",
    "conformance",
    "host",
    "platform",
    "browser",
    "fuzz",
    "bench",
    "replay",
    "simulation",
    "chaos",
    "soak",
}
UNMIRRORED_MODULES = {
    "__init__": "holds names, or nothing",
    "__main__": "is the command, which tests/process runs",
    "errors": "holds classes that other rooms' tests catch",
    "cli": "is what tests/process runs from outside",
}
UNMIRRORED_TESTS = {"test_mirror": "is about the tests themselves"}


def subject(test: Path, modules: set[str]) -> str:
    """Return what a test is about: test_plan is about plan, and so is test_plan_b."""
    path = test.relative_to(TESTS)
    words = path.stem.removeprefix("test_").split("_")
    names = ["_".join(words[:end]) for end in range(len(words), 0, -1)]
    subjects = [path.with_name(name).as_posix() for name in names]
    return next((s for s in subjects if s in modules), subjects[0])


def test_every_module_has_its_tests_and_every_test_its_module() -> None:
    modules = {
        path.relative_to(PACKAGE).with_suffix("").as_posix()
        for path in PACKAGE.rglob("*.py")
        if not {path.stem, *path.relative_to(PACKAGE).parts} & {*UNMIRRORED_MODULES}
    }
    tested = {
        subject(path, modules)
        for path in TESTS.rglob("test_*.py")
        if path.relative_to(TESTS).parts[0] not in FREE
        and path.stem not in UNMIRRORED_TESTS
    }

    assert sorted(modules - tested) == [], "modules without tests"
    assert sorted(tested - modules) == [], "tests without a module"
