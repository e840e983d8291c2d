# A linear model as a second opinion: minutes that a flight loses or makes up under way. What it learned is read off a
# table of coefficients, with their errors, which trees do not have.

here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)))
source(file.path(here, "dagster_pipes.R"))

mean_absolute <- function(errors) mean(abs(errors))

with_dagster_pipes(function(pipes) {
  flights <- read.csv(pipes$extra("features"), na.strings = "", stringsAsFactors = FALSE)
  complete <- flights[complete.cases(flights), ]
  pipes$log(sprintf("%d flights, %d of them with all features", nrow(flights), nrow(complete)))
  complete$lost <- complete$arr_delay - complete$dep_delay

  # Dates are text in ISO 8601, which sorts as the days do.
  is_held_out <- complete$flight_date >= pipes$extra("held_out")
  known <- complete[!is_held_out, ]
  held_out <- complete[is_held_out, ]
  if (nrow(known) == 0 || nrow(held_out) == 0) {
    stop(sprintf(
      "%d flights before %s to learn from and %d since then to be judged by: materialise eta/features/flights first",
      nrow(known), pipes$extra("held_out"), nrow(held_out)
    ))
  }

  model <- lm(reformulate(unlist(pipes$extra("terms")), "lost"), data = known)
  for (category in names(model$xlevels)) {
    unseen <- !held_out[[category]] %in% model$xlevels[[category]]
    if (any(unseen)) {
      pipes$log(sprintf("%d held-out flights left out: %s was never seen", sum(unseen), category), "WARNING")
      held_out <- held_out[!unseen, ]
    }
  }
  found <- summary(model)
  coefficients <- data.frame(rownames(found$coefficients), found$coefficients)
  names(coefficients) <- c("term", "estimate", "standard_error", "t_value", "p_value")
  write.csv(coefficients, pipes$extra("coefficients"), row.names = FALSE)
  pipes$log(sprintf("learned from %d flights: %d coefficients", nrow(known), nrow(coefficients)))

  errors <- predict(model, held_out) + held_out$dep_delay - held_out$arr_delay
  without_model <- mean_absolute(held_out$dep_delay - held_out$arr_delay)
  strongest <- head(coefficients[order(-abs(coefficients$t_value)), ], 8)
  pipes$report_asset_materialization(list(
    "mae/linear_baseline_r" = mean_absolute(errors),
    "mae/departure_delay" = without_model,
    "rmse/linear_baseline_r" = sqrt(mean(errors^2)),
    "bias/linear_baseline_r" = mean(errors),
    r_squared = found$r.squared,
    flights_learned_from = nrow(known),
    flights_judged_by = nrow(held_out),
    r_version = R.version.string,
    strongest = list(type = "md", raw_value = paste(c(
      "| term | estimate | t |", "|---|---|---|",
      sprintf("| %s | %.3f | %.1f |", strongest$term, strongest$estimate, strongest$t_value)
    ), collapse = "\n"))
  ))
  pipes$report_asset_check(
    "better_than_no_model", mean_absolute(errors) < without_model,
    list(model = mean_absolute(errors), departure_delay = without_model),
    severity = "WARN"
  )
})
