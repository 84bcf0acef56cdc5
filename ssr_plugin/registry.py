"""Named parts: look one up by the name a YAML or a command line gives it.

There are six tables, one for each kind of part: ``aligners``, ``segmenters``,
``connectors``, ``datasets``, ``tasks`` and ``synthesizers``. This package fills them in
:func:`ssr_plugin.components.setup`; another installed package adds its own through the
entry point group ``ssr_plugin.extensions``, whose target is a function
``setup(registry)`` that does the same::

    # setup.cfg of the other package
    [options.entry_points]
    ssr_plugin.extensions =
        mine = my_package:setup

    # my_package/__init__.py
    def setup(registry):
        registry.connectors.add("mine", "my_package.connector:MyConnector")

An extension that fails to load warns and is skipped; the rest keeps working.
"""

import functools
import importlib
import importlib.metadata
import warnings

from ssr_plugin.problems import did_you_mean

ENTRY_POINT_GROUP = "ssr_plugin.extensions"


class Table:
    """The parts of one kind, by name.

    Arguments
    ---------
    kind : str
        What the parts are, for messages ("connector").

    Example
    -------
    >>> connectors = Table("connector")
    >>> connectors.add("identity", "torch.nn:Identity")
    >>> connectors.get("identity").__name__
    'Identity'
    >>> connectors.get("identify")
    Traceback (most recent call last):
        ...
    ValueError: unknown connector 'identify'; known: identity (did you mean 'identity'?)
    """

    def __init__(self, kind):
        self.kind = kind
        self._parts = {}

    def add(self, name, part):
        """Gives a part its name.

        Arguments
        ---------
        name : str
            The name that YAML files and command lines use.
        part : callable or str
            A class or function, or ``"package.module:attribute"``, which is imported
            when the part is first asked for.

        Raises
        ------
        ValueError
            If another part has the name.
        """
        if self._parts.get(name, part) != part:
            raise ValueError(
                f"{self.kind} '{name}' is already registered as {self._parts[name]}"
            )
        self._parts[name] = part

    def names(self):
        """The known names, sorted."""
        return sorted(self._parts)

    def get(self, name):
        """The part of that name.

        Raises
        ------
        ValueError
            If there is none; the message lists the known names.
        ImportError
            If the part's module lacks something it needs.
        """
        if name not in self._parts:
            known = ", ".join(self.names())
            hint = did_you_mean(name, self.names())
            raise ValueError(f"unknown {self.kind} '{name}'; known: {known}{hint}")
        part = self._parts[name]
        if isinstance(part, str):
            module, _, attribute = part.partition(":")
            part = getattr(importlib.import_module(module), attribute)
        return part


class Registry:
    """The six tables of named parts. An extension's ``setup`` receives one.

    Example
    -------
    >>> "ssr" in Registry().load_extensions().connectors.names()
    True
    """

    def __init__(self):
        self.aligners = Table("aligner")
        self.segmenters = Table("segmenter")
        self.connectors = Table("connector")
        self.datasets = Table("data set")
        self.tasks = Table("task")
        self.synthesizers = Table("synthesizer")

    def load_extensions(self):
        """Adds this package's parts, then every extension's; returns the registry."""
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
def get_registry():
    """The registry of this process, its extensions loaded at the first call.

    Example
    -------
    >>> get_registry().connectors.get("ssr").__name__
    'SSRConnector'
    """
    return Registry().load_extensions()
