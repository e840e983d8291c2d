"""How wrong a model is in the held-out month, and whether that is good enough to be released."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from eta.days import END, HELD_OUT
from eta.model import ModelError, inputs
from eta.tables import CATEGORIES, EVALUATION, NUMBERS

if TYPE_CHECKING:
    import polars

CANDIDATE, IN_FORCE = "candidate", "accepted"
# What anybody predicts without a model: as late as it left; or that, and what its route has lost under way so far.
BASELINES = ("departure_delay", "route_mean")
# A model may be this much worse than the one in force. Models of the year that miss a tenth of its days, drawn eight
# times, had errors 1.2 % apart: less tolerance would refuse by chance.
TOLERANCE = 0.02


def held_out(features: "polars.DataFrame") -> "polars.DataFrame":
    """The flights that models are judged by: those of the held-out month that arrived."""
    import polars as pl

    return features.filter(pl.col("flight_date") >= HELD_OUT, pl.col("arr_delay").is_not_null())


def baselines(features: "polars.DataFrame") -> dict[str, "polars.Series"]:
    """What each baseline predicts for the held-out flights; routes are known from the days before."""
    import polars as pl

    route, lost = ["origin", "dest"], (pl.col("arr_delay") - pl.col("dep_delay")).mean()
    seen = features.filter(pl.col("flight_date") < HELD_OUT)
    rows = held_out(features)
    by_route = rows.join(seen.group_by(route).agg(lost=lost), route, "left", maintain_order="left")["lost"]
    on_average = seen.select(lost).item()
    return {
        "departure_delay": rows["dep_delay"],
        "route_mean": rows["dep_delay"] + by_route.fill_null(on_average),
    }


def refuse_holes(rows: "polars.DataFrame") -> None:
    """An error when days of the held-out month are missing: errors would be compared that are of different days."""
    there = set(rows["flight_date"].to_list())
    missing = [day for n in range((END - HELD_OUT).days) if (day := HELD_OUT + timedelta(days=n)) not in there]
    if missing:
        raise ModelError(
            f"{len(missing)} of {(END - HELD_OUT).days} days of the held-out month have no features: materialise "
            f"eta/features/flights from {missing[0]} to {missing[-1]} before the evaluation"
        )


def importance(estimator: Any, rows: "polars.DataFrame") -> dict[str, float]:
    """By how many minutes the mean absolute error grows when a feature's values are shuffled, in a sample of rows."""
    from sklearn.inspection import permutation_importance
    from threadpoolctl import threadpool_limits

    sample = rows.sample(min(rows.height, 5_000), seed=0)
    lost = (sample["arr_delay"] - sample["dep_delay"]).to_numpy()
    with threadpool_limits(1, "openmp"):
        found = permutation_importance(
            estimator, inputs(sample), lost, scoring="neg_mean_absolute_error", n_repeats=2, random_state=0
        )
    return dict(zip((*CATEGORIES, *NUMBERS), found["importances_mean"].tolist(), strict=True))


def errors(
    version: str,
    rows: "polars.DataFrame",
    predicted: dict[str, "polars.Series"],
    recorded: float | None = None,
) -> "polars.DataFrame":
    """The table `EVALUATION`: the error of each predictor over all hours and in each hour.

    `recorded` is the error, in minutes, of a model in force that cannot be asked any more.
    """
    import polars as pl

    hour = (rows["sched_dep_minute"] // 60).cast(pl.Int64).alias("hour")
    parts = []
    for predictor, values in predicted.items():
        each = pl.DataFrame({"hour": hour, "off": values - rows["arr_delay"]})
        measures = (
            pl.len().cast(pl.Int64).alias("flights"),
            pl.col("off").abs().mean().alias("mae"),
            (pl.col("off") ** 2).mean().sqrt().alias("rmse"),
            pl.col("off").mean().alias("bias"),
        )
        together = each.select(pl.lit(None, pl.Int64).alias("hour"), *measures)
        named = (pl.lit(version).alias("version"), pl.lit(predictor).alias("predictor"))
        parts.append(pl.concat([together, each.group_by("hour").agg(*measures).sort("hour")]).select(*named, pl.all()))
    if recorded is not None:
        known = {"version": version, "predictor": IN_FORCE, "flights": rows.height, "mae": recorded}
        parts.append(pl.DataFrame([known], schema=parts[0].schema))
    return pl.concat(parts).select(list(EVALUATION.columns))


@dataclass(frozen=True)
class Verdict:
    """Whether a model may be released, and why not."""

    version: str
    errors: dict[str, float]
    """Mean absolute error of each predictor, minutes."""
    objections: list[str]

    @property
    def passed(self) -> bool:
        """Nothing speaks against it."""
        return not self.objections


def verdict(evaluation: "polars.DataFrame") -> Verdict:
    """Judge the table `EVALUATION`: better than every baseline, and not worse than the model in force."""
    import polars as pl

    overall = evaluation.filter(pl.col("hour").is_null())
    maes: dict[str, float] = dict(overall.select("predictor", "mae").rows())
    own = maes[CANDIDATE]
    objections = [
        f"its error is {own:.2f} minutes, the baseline {name} has {maes[name]:.2f}: a model must be better than that"
        for name in BASELINES
        if not own < maes[name]
    ]
    if IN_FORCE in maes and not own <= maes[IN_FORCE] * (1 + TOLERANCE):
        objections.append(
            f"its error is {own:.2f} minutes, the model in force has {maes[IN_FORCE]:.2f}: at most "
            f"{maes[IN_FORCE] * (1 + TOLERANCE):.2f} is accepted"
        )
    return Verdict(str(overall["version"][0]), maes, objections)
