"""Dagster's request context with the permissions of the person who sent the request."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagster import DagsterInstance
from dagster import __version__ as dagster_version
from dagster._core.storage.tags import REPORTING_USER_TAG, USER_TAG
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import WorkspaceLoadTarget

from access import Permissions
from webserver.identity import SCOPE_KEY, AccessFile, Identity
from webserver.limits import Spending


class RequestContext(WorkspaceRequestContext):
    """One request: Dagster's own checks, and the buttons in the UI, follow the person's role."""

    def __init__(self, identity: Identity | None, access: Permissions, **arguments: Any) -> None:
        locations = arguments["current_workspace"].code_location_entries
        super().__init__(
            **arguments,
            read_only=not access.is_admin,
            read_only_locations={name: not access.may_edit(name) for name in locations},
        )
        self.identity = identity
        self.access = access
        self.spending = Spending()

    @property
    def show_instance_config(self) -> bool:
        """Addresses and classes of the deployment's parts concern admins only."""
        return self.access.is_admin

    def get_viewer_tags(self) -> dict[str, str]:
        """Tags of a backfill; they overwrite those that the client sent."""
        return {USER_TAG: self.identity.user} if self.identity else {}

    def get_reporting_user_tags(self) -> dict[str, str]:
        """Tags of asset events that were reported by hand."""
        return {REPORTING_USER_TAG: self.identity.user} if self.identity else {}

    @contextmanager
    def attributed_backfills(self) -> Iterator[None]:
        """Inside, a new backfill carries this user's name.

        Dagster copies the tags of the original when a backfill is executed again, its user's name included.
        """
        original = self._instance
        tagging: DagsterInstance = copy.copy(original)

        def add_backfill(backfill: Any) -> None:
            original.add_backfill(backfill._replace(tags={**backfill.tags, **self.get_viewer_tags()}))

        tagging.add_backfill = add_backfill  # type: ignore[method-assign]
        self._instance = tagging
        try:
            yield
        finally:
            self._instance = original


class ProcessContext(WorkspaceProcessContext):
    """Makes a `RequestContext` of each request that has passed the gate."""

    def __init__(self, instance: DagsterInstance, workspace: WorkspaceLoadTarget, access: AccessFile) -> None:
        # Before the base class: it loads the code locations, and its threads may ask for contexts.
        self._access_file = access
        super().__init__(instance, workspace, version=dagster_version, read_only=True)

    def create_request_context(self, source: Any = None) -> RequestContext:
        """The context of a request or WebSocket message; without one (Dagster's own threads) nothing may be changed."""
        identity = getattr(source, "scope", {}).get(SCOPE_KEY)
        return RequestContext(
            identity,
            self._access_file.permissions(identity),
            instance=self._instance,
            current_workspace=self.get_current_workspace(),
            process_context=self,
            version=self.version,
            source=source,
        )
