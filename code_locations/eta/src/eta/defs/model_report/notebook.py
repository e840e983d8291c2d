"""Runs a notebook as a step: executed by papermill, told to Dagster through Pipes from inside its kernel."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def run_notebook(
    context: dg.AssetExecutionContext, notebook: Path, parameters: Mapping[str, Any], folder: Path
) -> dg.MaterializeResult:
    """What the notebook reported of its one asset; the executed notebook and its page are kept in `folder`.

    The kernel finds Dagster by the parameter `pipes_bootstrap`. Raises dg.Failure that names the cell and its error;
    the notebook as far as it came is kept then, too.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    folder.mkdir(parents=True, exist_ok=True)
    executed = folder / f"{context.run.run_id}.ipynb"
    with dg.open_pipes_session(
        context=context.op_execution_context,
        context_injector=dg.PipesTempFileContextInjector(),
        message_reader=dg.PipesTempFileMessageReader(),
    ) as session:
        try:
            papermill.execute_notebook(
                str(notebook),
                str(executed),
                {**parameters, "pipes_bootstrap": dict(session.get_bootstrap_env_vars())},
                progress_bar=False,
                # What cells print is the run's own output.
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
            )
        except PapermillExecutionError as error:
            raise _failure(notebook, executed, error) from None
    page = _as_page(executed)
    kept = {"notebook": dg.MetadataValue.path(str(executed)), "page": dg.MetadataValue.path(str(page))}
    reported = session.get_results(implicit_materializations=False, metadata=kept)
    if len(reported) != 1:
        raise dg.Failure(
            f"{notebook.name} reported {len(reported)} materialisations, expected one: "
            "pipes.report_asset_materialization(…)"
        )
    return reported[0]


def _failure(notebook: Path, executed: Path, error: Any) -> dg.Failure:
    return dg.Failure(
        f"Cell {error.exec_count} of {notebook.name} failed: {error.ename}: {error.evalue}",
        metadata={
            "cell": dg.MetadataValue.md(f"```python\n{error.source}\n```"),
            "traceback": dg.MetadataValue.md("```\n" + _COLOUR.sub("", "\n".join(error.traceback)) + "\n```"),
            "notebook": dg.MetadataValue.path(str(executed)),
        },
    )


def _as_page(executed: Path) -> Path:
    """The notebook as one HTML file that fetches nothing: whoever opens it may be without a network."""
    from nbconvert import HTMLExporter

    addresses = {name: "" for name in HTMLExporter.class_trait_names() if name.endswith("_url")}
    exporter = HTMLExporter(template_name="lab", **addresses)
    content, _ = exporter.from_filename(str(executed))
    page = executed.with_suffix(".html")
    page.write_text(content, encoding="utf-8")
    return page
