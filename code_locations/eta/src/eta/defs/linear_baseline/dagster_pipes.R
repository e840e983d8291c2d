# The far side of Dagster Pipes for R: what the Python package dagster_pipes does, as far as an asset needs it.
#
#   with_dagster_pipes(function(pipes) {
#     pipes$log("read 27,004 rows")
#     pipes$report_asset_materialization(list(rows = 27004L))
#   })
#
# Dagster says by two variables of the environment (JSON, zlib, base64) where the context is and where messages go.
# Needs jsonlite and nothing else.

pipes_parameter <- function(name) {
  encoded <- Sys.getenv(name)
  if (encoded == "") {
    stop(name, " is not set: this script is started by a Dagster run, through Pipes")
  }
  text <- rawToChar(memDecompress(jsonlite::base64_dec(encoded), type = "gzip"))
  jsonlite::fromJSON(text, simplifyVector = FALSE)
}

pipes_context_data <- function(params) {
  if (!is.null(params$path)) {
    return(jsonlite::read_json(params$path))
  }
  if (is.null(params$data)) {
    stop("expected `path` or `data` in DAGSTER_PIPES_CONTEXT, found ", toString(names(params)))
  }
  params$data
}

# A function that sends one message, a line of JSON.
pipes_sender <- function(params) {
  destination <- if (!is.null(params$path)) {
    file(params$path, open = "ab")
  } else if (identical(params$stdio, "stdout")) {
    stdout()
  } else if (identical(params$stdio, "stderr")) {
    stderr()
  } else {
    stop("expected `path` or `stdio` in DAGSTER_PIPES_MESSAGES, found ", toString(names(params)))
  }
  function(method, params) {
    message <- list("__dagster_pipes_version" = "0.1", method = method, params = params)
    # NA and NaN have no other form in JSON than null; 15 digits are all that a number has.
    line <- jsonlite::toJSON(message, auto_unbox = TRUE, null = "null", na = "null", digits = NA, force = TRUE)
    # In one piece and at once, for Dagster reads while the script still runs.
    writeLines(iconv(line, "UTF-8", "UTF-8", sub = "byte"), destination, useBytes = TRUE)
    flush(destination)
  }
}

pipes_nothing <- function() setNames(list(), character(0)) # {} in JSON, where list() is []

pipes_metadata <- function(metadata) {
  if (length(metadata) == 0) {
    return(pipes_nothing())
  }
  if (is.null(names(metadata)) || any(names(metadata) == "")) {
    stop("metadata is a list with a name for each value")
  }
  lapply(metadata, function(value) {
    if (is.list(value) && setequal(names(value), c("raw_value", "type"))) {
      value
    } else {
      list(raw_value = value, type = "__infer__")
    }
  })
}

open_dagster_pipes <- function() {
  data <- pipes_context_data(pipes_parameter("DAGSTER_PIPES_CONTEXT"))
  write <- pipes_sender(pipes_parameter("DAGSTER_PIPES_MESSAGES"))
  closed <- FALSE
  materialized <- character(0)

  send <- function(method, params) {
    if (closed) stop("pipes are closed: nothing can be sent any more")
    write(method, params)
  }
  asset_key_of <- function(given) {
    keys <- unlist(data$asset_keys)
    if (is.null(given) && length(keys) != 1) {
      stop("asset_key is needed: this step has ", length(keys), " assets")
    }
    key <- if (is.null(given)) keys else given
    if (!key %in% keys) stop("asset_key ", key, " is not of this step: ", toString(keys))
    key
  }
  pipes <- list(
    context = data,
    extra = function(name) {
      if (is.null(data$extras[[name]])) stop("there is no extra ", name, ": ", toString(names(data$extras)))
      data$extras[[name]]
    },
    log = function(message, level = "INFO") {
      send("log", list(message = paste(message, collapse = "\n"), level = level))
    },
    report_asset_materialization = function(metadata = list(), data_version = NULL, asset_key = NULL) {
      key <- asset_key_of(asset_key)
      if (key %in% materialized) stop("asset ", key, " was materialized already")
      send("report_asset_materialization", list(
        asset_key = key, data_version = data_version, metadata = pipes_metadata(metadata)
      ))
      materialized <<- c(materialized, key)
    },
    report_asset_check = function(check_name, passed, metadata = list(), severity = "ERROR", asset_key = NULL) {
      send("report_asset_check", list(
        asset_key = asset_key_of(asset_key), check_name = check_name, passed = isTRUE(passed),
        severity = severity, metadata = pipes_metadata(metadata)
      ))
    },
    close = function(exception = NULL) {
      if (closed) {
        return(invisible())
      }
      send("closed", if (is.null(exception)) pipes_nothing() else list(exception = exception))
      closed <<- TRUE
    }
  )
  send("opened", list(extras = pipes_nothing()))
  pipes
}

# Runs body(pipes). A warning goes to the run's log; an error does too, with the calls that led to it, and ends R with
# status 1, which fails the run.
with_dagster_pipes <- function(body) {
  pipes <- open_dagster_pipes()
  calls <- list()
  failed <- function(condition, name) {
    pipes$close(list(
      message = paste0(name, ": ", conditionMessage(condition)), name = name, cause = NULL, context = NULL,
      stack = I(vapply(calls, function(call) paste0(deparse(call, nlines = 1L)[1], "\n"), ""))
    ))
    base::message(name, ": ", conditionMessage(condition))
    quit(save = "no", status = 1L)
  }
  tryCatch(
    withCallingHandlers(
      body(pipes),
      warning = function(condition) {
        pipes$log(conditionMessage(condition), "WARNING")
        tryInvokeRestart("muffleWarning")
      },
      # Here the calls are still there; in the handler below they have gone. Of use are those that the body made.
      error = function(condition) {
        made <- utils::head(sys.calls(), -2)
        own <- which(vapply(made, identical, NA, quote(body(pipes))))
        calls <<- utils::tail(made, -max(own, 0))
      }
    ),
    error = function(condition) failed(condition, class(condition)[1]),
    interrupt = function(condition) failed(simpleCondition("the run was terminated"), "interrupt")
  )
  pipes$close()
}
