from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from need import packages

HERE = Path(__file__).parent
MODULE = HERE.parents[1] / "service" / "electron"


def complaints(folder: Path, source: Path, **options: object) -> str:
    """Compile a file, and return what the compiler has against it."""
    modules = packages(HERE) / "node_modules"
    settings = json.loads((HERE / "tsconfig.json").read_text())
    settings["compilerOptions"] |= {
        "typeRoots": [str(modules / "@types")],
        "paths": {"electron": [str(modules / "electron")]},
        **options,
    }
    settings["files"] = [str(source)]
    (folder / "tsconfig.json").write_text(json.dumps(settings))
    compiler = modules / "typescript" / "bin" / "tsc"
    compiled = subprocess.run(
        ["node", compiler, "--project", folder],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return compiled.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the host module is as Node takes it, after the compiler has agreed."""
    folder = tmp_path_factory.mktemp("built")
    assert complaints(folder, MODULE / "example.ts", outDir=str(folder)) == ""
    shutil.copy(HERE / "app.mjs", folder)
    (folder / "package.json").write_text('{"type": "module"}')
    return folder
