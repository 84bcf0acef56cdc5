"""Named components: look one up by the name a YAML or a command line gives it.

There are seven tables, one for each kind of component: ``aligners``, ``segmenters``,
``connectors``, ``datasets``, ``benchmarks``, ``conditions`` and ``synthesizers``. Each
kind has a base class, which says what a component of that kind must give. This package
fills the tables in :func:`ssr_plugin.components.setup`; another installed package adds
its own through the entry point group ``ssr_plugin.extensions``, whose target is a
function ``setup(registry)`` that does the same::

    # setup.cfg of the other package
    [options.entry_points]
    ssr_plugin.extensions =
        mine = my_package:setup

    # my_package/__init__.py
    def setup(registry):
        registry.connectors.add("mine", "my_package.connector:MyConnector")

An extension that fails to load warns and is skipped; the rest keeps working.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ssr_plugin.problems import did_you_mean

if TYPE_CHECKING:
    from ssr_plugin.alignment.base import Aligner
    from ssr_plugin.connectors.base import Connector
    from ssr_plugin.data.datasets import DataSet
    from ssr_plugin.evaluation.harness.benchmark import Benchmark
    from ssr_plugin.evaluation.harness.condition import Condition
    from ssr_plugin.segmenters.base import Segmenter
    from ssr_plugin.tts.synthesizers import Synthesizer

# The class that the components of a table are subclasses of.
Base = TypeVar("Base")

ENTRY_POINT_GROUP = "ssr_plugin.extensions"


class Table(Generic[Base]):
    """The components of one kind, by name.

    Arguments
    ---------
    kind : str
        What the components are, for messages ("connector").
    base : type or str
        The class that each is a subclass of, or its ``"package.module:Class"``, which
        is imported when a component is first asked for.

    Example
    -------
    >>> modules = Table("module", "torch.nn:Module")
    >>> modules.add("identity", "torch.nn:Identity")
    >>> modules.get("identity").__name__
    'Identity'
    >>> modules.get("identify")
    Traceback (most recent call last):
        ...
    ValueError: unknown module 'identify'; known: identity (did you mean 'identity'?)
    >>> modules.add("path", "pathlib:Path")
    >>> modules.get("path")
    Traceback (most recent call last):
        ...
    ValueError: module 'path' (pathlib.Path) is no subclass of torch.nn...Module
    """

    def __init__(self, kind: str, base: type[Base] | str) -> None:
        self.kind = kind
        self._base = base
        self._components: dict[str, Callable[..., Base] | str] = {}

    @property
    def base(self) -> type[Base]:
        """The class that each component is a subclass of."""
        if isinstance(self._base, str):
            self._base = _import(self._base)
        assert isinstance(self._base, type)
        return self._base

    def add(self, name: str, component: Callable[..., Base] | str) -> None:
        """Gives a component its name.

        Arguments
        ---------
        name : str
            The name that YAML files and command lines use.
        component : callable or str
            A subclass of :attr:`base`; or a function whose return annotation is one; or
            ``"package.module:attribute"`` of either, which is imported when the
            component is first asked for.

        Raises
        ------
        ValueError
            If another component has the name.
        """
        if self._components.get(name, component) != component:
            raise ValueError(
                f"{self.kind} '{name}' is already registered as "
                f"{self._components[name]}"
            )
        self._components[name] = component

    def names(self) -> list[str]:
        """The known names, sorted."""
        return sorted(self._components)

    def get(self, name: str) -> Callable[..., Base]:
        """The component of that name: a class, or a function that makes one.

        Raises
        ------
        ValueError
            If there is none, the message lists the known names; or if it is no subclass
            of :attr:`base`.
        ImportError
            If the component's module lacks something it needs.
        """
        component = self._find(name)
        made = _made_by(component)
        if not issubclass(made, self.base):
            what = _name(component)
            if made is not component:
                what += f", said to return {_name(made)}"
            raise ValueError(
                f"{self.kind} '{name}' ({what}) is no subclass of {_name(self.base)}"
            )
        return component

    def made_by(self, name: str) -> type[Base]:
        """The class of what the component of that name makes.

        Arguments
        ---------
        name : str

        Returns
        -------
        type
            The component itself; of a function, what its return annotation says.

        Raises
        ------
        ValueError, ImportError
            As :meth:`get`.

        Example
        -------
        >>> get_registry().connectors.made_by("ssr").__name__
        'Connector'
        """
        made: type[Base] = _made_by(self.get(name))
        return made

    def makes(self, name: str, contract: type) -> bool:
        """Whether the component of that name keeps to a class beyond :attr:`base`.

        Arguments
        ---------
        name : str
        contract : type

        Returns
        -------
        bool

        Raises
        ------
        ValueError, ImportError
            As :meth:`get`.
        """
        return issubclass(self.made_by(name), contract)

    def _find(self, name: str) -> Callable[..., Base]:
        if name not in self._components:
            known = ", ".join(self.names())
            hint = did_you_mean(name, self.names())
            raise ValueError(f"unknown {self.kind} '{name}'; known: {known}{hint}")
        component = self._components[name]
        return _import(component) if isinstance(component, str) else component


def _import(target: str) -> Any:
    """What ``"package.module:attribute"`` names."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _made_by(component: Callable[..., Any]) -> type[Any]:
    """A class itself, or that which a function says it returns."""
    if isinstance(component, type):
        return component
    made = inspect.signature(component).return_annotation
    # A string, as all are under "from __future__ import annotations".
    module = inspect.getmodule(component)
    if isinstance(made, str) and module is not None:
        made = vars(module).get(made)
    said = isinstance(made, type) and made is not inspect.Signature.empty
    return made if said else object


def _name(component: Any) -> str:
    """A class or function as its user wrote it."""
    name = component.__qualname__
    return name if component is object else f"{component.__module__}.{name}"


class Registry:
    """The seven tables of named components. An extension's ``setup`` receives one.

    Example
    -------
    >>> "ssr" in Registry().load_extensions().connectors.names()
    True
    """

    def __init__(self) -> None:
        self.aligners: Table[Aligner] = Table(
            "aligner", "ssr_plugin.alignment.base:Aligner"
        )
        self.segmenters: Table[Segmenter] = Table(
            "segmenter", "ssr_plugin.segmenters.base:Segmenter"
        )
        self.connectors: Table[Connector] = Table(
            "connector", "ssr_plugin.connectors.base:Connector"
        )
        self.datasets: Table[DataSet] = Table(
            "data set", "ssr_plugin.data.datasets:DataSet"
        )
        self.benchmarks: Table[Benchmark] = Table(
            "benchmark", "ssr_plugin.evaluation.harness.benchmark:Benchmark"
        )
        self.conditions: Table[Condition] = Table(
            "condition", "ssr_plugin.evaluation.harness.condition:Condition"
        )
        self.synthesizers: Table[Synthesizer] = Table(
            "synthesizer", "ssr_plugin.tts.synthesizers:Synthesizer"
        )

    def load_extensions(self) -> Registry:
        """Adds this package's components, then every extension's; returns itself."""
        from ssr_plugin import components

        components.setup(self)
        for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
            try:
                entry.load()(self)
            except Exception as error:
                warnings.warn(
                    f"extension '{entry.name}' ({entry.value}) is skipped: "
                    f"{type(error).__name__}: {error}",
                    stacklevel=2,
                )
        return self


@functools.cache
def get_registry() -> Registry:
    """The registry of this process, its extensions loaded at the first call.

    Example
    -------
    >>> get_registry().connectors.get("mean").__name__
    'MeanConnector'
    """
    return Registry().load_extensions()
