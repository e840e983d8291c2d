"""How wrong the new model is in a month that no model has seen."""

import dagster as dg
from eta.stored import accepted, candidate, features, in_force
from eta.tables import EVALUATION, FEATURES, MODEL, OWNERS

from platform_kit.frame import Frame
from platform_kit.lake import LakeResource


@dg.asset(
    key=EVALUATION.asset_key,
    description="Errors in the held-out month: of the candidate, of the model in force, of predicting without a model",
    deps=[MODEL.asset_key, FEATURES.asset_key],
    group_name="model",
    owners=OWNERS,
    kinds={"scikitlearn", "matplotlib", "ducklake"},
    metadata=EVALUATION.metadata,
)
def evaluation(context: dg.AssetExecutionContext, lake: LakeResource) -> Frame:
    """Errors over all hours and by hour; the plots go with the metadata."""
    from eta import judging, model, plots

    everything = features(lake)
    rows = judging.held_out(everything)
    judging.refuse_holes(rows)
    new, _ = candidate(lake)
    estimator = new.estimator()
    predicted = {judging.CANDIDATE: model.predict(estimator, rows), **judging.baselines(everything)}
    released, recorded = accepted(lake), None
    if not released.is_empty():
        current = in_force(lake)
        if current.libraries == model.libraries():
            predicted[judging.IN_FORCE] = model.predict(current.estimator(), rows)
        else:  # after an upgrade nobody can ask it any more, but its error is known
            recorded = released["mae"][-1]
    found = judging.errors(new.version, rows, predicted, recorded)
    context.add_output_metadata(
        {
            **{f"mae/{name}": value for name, value in judging.verdict(found).errors.items()},
            "rmse/candidate": found["rmse"][0],
            "error_by_hour": plots.error_by_hour(found),
            "importance": plots.importance(judging.importance(estimator, rows)),
            "dagster/column_lineage": EVALUATION.lineage,
        }
    )
    return found
