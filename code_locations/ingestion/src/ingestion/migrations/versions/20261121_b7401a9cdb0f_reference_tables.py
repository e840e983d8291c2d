"""Reference tables

Where a version before this one has run, an upsert has made them: they stay as they are, with their rows.
"""

import sqlalchemy as sa
from alembic import op

revision = "b7401a9cdb0f"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "airlines",
        sa.Column("carrier", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("carrier"),
        schema="reference",
        if_not_exists=True,
    )
    op.create_table(
        "airports",
        sa.Column("faa", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("lat", sa.Double(), nullable=True),
        sa.Column("lon", sa.Double(), nullable=True),
        sa.Column("alt", sa.Integer(), nullable=True),
        sa.Column("tz", sa.Integer(), nullable=True),
        sa.Column("dst", sa.Text(), nullable=True),
        sa.Column("tzone", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("faa"),
        schema="reference",
        if_not_exists=True,
    )
    op.create_table(
        "planes",
        sa.Column("tailnum", sa.Text(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=True),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("manufacturer", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("engines", sa.Integer(), nullable=True),
        sa.Column("seats", sa.Integer(), nullable=True),
        sa.Column("speed", sa.Integer(), nullable=True),
        sa.Column("engine", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tailnum"),
        schema="reference",
        if_not_exists=True,
    )


def downgrade() -> None:
    """They stay: the version before makes them itself where they are missing, and goes on with these."""
