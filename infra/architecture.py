"""Three contracts that import-linter lacks. All are allow-lists, so a new module or library cannot slip past.

They look at direct imports. Wildcards are import-linter's; an expression that matches no module is an error.
"""

from collections.abc import Iterable

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.domain import helpers


class AllowList(Contract):
    """A contract that forbids every import that is not in its list."""

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 - the interface of import-linter
        """Find every import that is not allowed."""
        found = sorted(self.illegal(graph))
        return ContractCheck(kept=not found, metadata={"illegal": found})

    def illegal(self, graph: ImportGraph) -> Iterable[tuple[str, str]]:
        """Each illegal import: the importing and the imported module."""
        raise NotImplementedError

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line for each illegal import."""
        for importer, imported in check.metadata["illegal"]:
            output.print_error(f"{importer} must not import {imported}", bold=False)


class SeparateRoots(AllowList):
    """Every root package imports no other root package, except those that are `shared`."""

    type_name = "separate"

    shared = fields.SetField(subfield=fields.StringField())

    def illegal(self, graph: ImportGraph) -> Iterable[tuple[str, str]]:
        """Each import of another root package."""
        roots: set[str] = set(self.session_options["root_packages"])
        shared: set[str] = self.shared  # type: ignore[assignment]
        for importer in graph.modules:
            root = _root(importer)
            others = roots - {root} if root in shared else roots - {root} - shared
            for imported in graph.find_modules_directly_imported_by(importer):
                if _root(imported) in others:
                    yield importer, imported


class AllowedImports(AllowList):
    """`source_modules` import only each other, `allowed_modules` and `external_packages`.

    The standard library counts as external: some of it does I/O.
    """

    type_name = "allowed"

    source_modules = fields.SetField(subfield=fields.ModuleExpressionField())
    allowed_modules = fields.SetField(subfield=fields.ModuleExpressionField())
    external_packages = fields.SetField(subfield=fields.StringField())

    def illegal(self, graph: ImportGraph) -> Iterable[tuple[str, str]]:
        """Each import of something else."""
        sources = _modules(graph, self.source_modules)
        external: set[str] = self.external_packages  # type: ignore[assignment]
        allowed = sources | _modules(graph, self.allowed_modules) | external
        for source in sources:
            for imported in graph.find_modules_directly_imported_by(source) - allowed:
                yield source, imported


class AllowedImporters(AllowList):
    """Only `allowed_importers` and the modules in them import these external packages."""

    type_name = "importers"

    external_packages = fields.SetField(subfield=fields.StringField())
    allowed_importers = fields.SetField(subfield=fields.ModuleExpressionField())

    def illegal(self, graph: ImportGraph) -> Iterable[tuple[str, str]]:
        """Each import from somewhere else."""
        allowed = _modules(graph, self.allowed_importers)
        packages: set[str] = self.external_packages  # type: ignore[assignment]
        for package in packages & graph.modules:
            for importer in graph.find_modules_that_directly_import(package) - allowed:
                yield importer, package


def _root(module: str) -> str:
    return module.partition(".")[0]


def _modules(graph: ImportGraph, expressions: object) -> set[str]:
    """The modules that match, and those inside them."""
    found = helpers.module_expressions_to_modules(graph, expressions, as_packages=True, raise_if_unmatched=True)  # type: ignore[arg-type]
    return {module.name for module in found}
