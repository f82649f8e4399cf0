"""Function paths: the many ways to write one, and the one that goes out."""

from __future__ import annotations


def canonical_path(path: str) -> str:
    """Return `module/path:function` for any spelling that people use.

    `api.dir.mod.fn`, `dir.mod.fn`, `dir/mod.js:fn` and `dir/mod:fn` are one function;
    a module without a function means its default export.

    Raises:
        ValueError: a part is empty.
    """
    path = path.removeprefix("api.")
    module, colon, function = path.rpartition(":")
    if not colon:
        module, _, function = path.removesuffix(".js").rpartition(".")
        module = module.replace(".", "/")
        if not module:
            module, function = function, "default"
    module = module.removesuffix(".js")
    if not function or not all(module.split("/")):
        raise ValueError("a function path looks like module:function")
    return f"{module}:{function}"
