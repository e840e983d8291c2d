"""The location's own tables in Postgres, beside the lake: what they should be. `migrations` is how they get there."""

import sqlalchemy as sa

from ingestion.tables import REFERENCE, REFERENCE_SCHEMA, Table

metadata = sa.MetaData(schema=REFERENCE_SCHEMA)

_TYPES = {"VARCHAR": sa.Text, "INTEGER": sa.Integer, "DOUBLE": sa.Double}


def _model_of(table: Table) -> sa.Table:
    columns = (
        # What must not be empty is a check of the lake: a row that lacks it is stored, and told.
        sa.Column(name, _TYPES[column.type], primary_key=name in table.key, nullable=name not in table.key)
        for name, column in table.columns.items()
    )
    return sa.Table(table.name, metadata, *columns)


models = {table.name: _model_of(table) for table in REFERENCE}
