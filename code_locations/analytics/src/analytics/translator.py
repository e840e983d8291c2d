"""dbt's names as Dagster's: the asset key says where the table is."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtProject

OWNERS = ["team:analysts"]

_EAGER = dg.AutomationCondition.eager()
# Raw tables have daily partitions, and "no upstream partition is missing" would wait for the whole year. A staging
# model has one raw table and is only asked for when that table changed, so the table is there.
_ON_NEW_RAW_DATA = _EAGER.without(~dg.AutomationCondition.any_deps_missing()).with_label("on_new_raw_data")


class LakeTranslator(DagsterDbtTranslator):
    """Keys are [catalog, schema, table], of sources too: so they meet the assets of the location that writes them."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """The key, with the schema's plain name: a developer's prefix is part of the place, not of the asset."""
        props = dbt_resource_props
        if props["resource_type"] == "source":
            return dg.AssetKey([props["database"], props["source_name"], props["identifier"]])
        return dg.AssetKey([props["database"], props["config"]["schema"], props["alias"]])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """The layer: staging or marts."""
        return dbt_resource_props["config"].get("schema") or dbt_resource_props.get("source_name")

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> Sequence[str] | None:  # noqa: ARG002
        """One team owns this location."""
        return OWNERS

    def get_automation_condition(self, dbt_resource_props: Mapping[str, Any]) -> dg.AutomationCondition[Any] | None:
        """Each model is built when something it reads is new and nothing it reads is still being built."""
        return _ON_NEW_RAW_DATA if dbt_resource_props["config"].get("schema") == "staging" else _EAGER

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """The spec, with view or table among its kinds."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        materialized = self.get_resource_props(manifest, unique_id)["config"].get("materialized")
        return spec.replace_attributes(kinds={*spec.kinds, materialized}) if materialized else spec
