"""A contract for import-linter that it does not have: some modules may import nothing but what is listed."""

import sys

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.domain import helpers


class AllowedImports(Contract):
    """`source_modules` import only `allowed_modules`, themselves and the standard library: an allow-list.

    So a new library is refused until somebody decides to allow it. Direct imports count; wildcards are import-linter's.
    """

    type_name = "allowed"

    source_modules = fields.SetField(subfield=fields.ModuleExpressionField())
    allowed_modules = fields.SetField(subfield=fields.ModuleExpressionField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 - the interface of import-linter
        """List every import that is not allowed."""
        sources = _modules(graph, self.source_modules)
        allowed = sources | _modules(graph, self.allowed_modules) | set(sys.stdlib_module_names)
        illegal = [
            f"{source} -> {imported}"
            for source in sorted(sources)
            for imported in sorted(graph.find_modules_directly_imported_by(source) - allowed)
        ]
        return ContractCheck(kept=not illegal, metadata={"illegal": illegal})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line for each illegal import."""
        for line in check.metadata["illegal"]:
            output.print_error(f"{line} is not in the list of allowed modules", bold=False)


def _modules(graph: ImportGraph, expressions: object) -> set[str]:
    found = helpers.module_expressions_to_modules(graph=graph, expressions=expressions, as_packages=False)  # type: ignore[arg-type]
    return {module.name for module in found}
