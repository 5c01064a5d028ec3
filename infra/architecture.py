"""Two contracts for import-linter that it lacks. Both are allow-lists, so a new module or library cannot slip past."""

import sys
from collections.abc import Iterable

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.domain import helpers


class AllowedImports(Contract):
    """`source_modules` import only `allowed_modules`, each other and the standard library.

    Direct imports count; wildcards are import-linter's.
    """

    type_name = "allowed"

    source_modules = fields.SetField(subfield=fields.ModuleExpressionField())
    allowed_modules = fields.SetField(subfield=fields.ModuleExpressionField())
    external_packages = fields.SetField(subfield=fields.StringField(), required=False, default=set())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 - the interface of import-linter
        """List every import that is not allowed."""
        sources = _modules(graph, self.source_modules)
        allowed = sources | _modules(graph, self.allowed_modules) | set(sys.stdlib_module_names)
        allowed |= set(self.external_packages)  # type: ignore[call-overload]
        return _verdict(
            (source, imported)
            for source in sources
            for imported in graph.find_modules_directly_imported_by(source) - allowed
        )

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line for each illegal import."""
        _render(check)


class AllowedImporters(Contract):
    """Only `allowed_importers` import these external packages, whether or not anybody does today."""

    type_name = "importers"

    external_packages = fields.SetField(subfield=fields.StringField())
    allowed_importers = fields.SetField(subfield=fields.ModuleExpressionField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 - the interface of import-linter
        """List every import of the packages from somewhere else."""
        allowed = _modules(graph, self.allowed_importers, as_packages=True)
        packages: set[str] = self.external_packages  # type: ignore[assignment]
        return _verdict(
            (importer, package)
            for package in packages & graph.modules
            for importer in graph.find_modules_that_directly_import(package) - allowed
        )

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line for each illegal import."""
        _render(check)


def _modules(graph: ImportGraph, expressions: object, *, as_packages: bool = False) -> set[str]:
    found = helpers.module_expressions_to_modules(graph=graph, expressions=expressions, as_packages=as_packages)  # type: ignore[arg-type]
    return {module.name for module in found}


def _verdict(illegal: Iterable[tuple[str, str]]) -> ContractCheck:
    found = sorted(illegal)
    return ContractCheck(kept=not found, metadata={"illegal": found})


def _render(check: ContractCheck) -> None:
    for importer, imported in check.metadata["illegal"]:
        output.print_error(f"{importer} must not import {imported}", bold=False)
