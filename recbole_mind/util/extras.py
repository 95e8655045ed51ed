"""Libraries that only a part of this package needs: which extra brings each, and the one line that says so."""

from __future__ import annotations

import importlib.util
import sys

from recbole_mind.errors import InputError

EXTRAS = {  # by the extra of setup.cfg, the modules that it brings
    "sweep": ("ray", "hyperopt", "plotly"),
    "report": ("matplotlib",),
    "serve": ("onnx", "onnxruntime", "fastapi", "starlette", "uvicorn", "prometheus_client", "cryptography", "pyarrow"),
    "milvus": ("pymilvus", "milvus_lite"),
}

# what RecBole asks for cannot be had from Python 3.12 on; what it needs, our own requirements bring
RECBOLE = f"pip install {'--no-deps ' if sys.version_info >= (3, 12) else ''}recbole==1.2.1"


def installed(module: str) -> bool:
    """Whether a module can be imported, without importing it."""
    return sys.modules.get(module) is not None or importlib.util.find_spec(module) is not None


def extra_of(module: str) -> str | None:
    """The extra that brings a module, if one does."""
    root = module.partition(".")[0]
    return next((name for name, modules in EXTRAS.items() if root in modules), None)


def command_for(module: str) -> str | None:
    """The command that installs a module, if it is RecBole or of one of our extras."""
    if module.partition(".")[0] == "recbole":
        return RECBOLE
    extra = extra_of(module)
    return None if extra is None else f"pip install 'recbole-mind[{extra}]'"


def lacking(module: str, what: str) -> str:
    """One line: what needs the module that is not installed, and the command that helps."""
    command = command_for(module)
    if module.partition(".")[0] == "recbole":
        return f"RecBole is not installed: {command}"
    return f"{what} needs the library '{module}', which is not installed" + (f": {command}" if command else "")


def require_modules(what: str, *modules: str) -> None:
    """Raise :class:`InputError`, which names the extra, unless the modules that ``what`` needs are installed."""
    for module in modules:
        if not installed(module):
            raise InputError(lacking(module, what))
