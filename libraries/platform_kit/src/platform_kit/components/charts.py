"""Charts as pictures: drawn by Altair when the report is made, so that a page needs neither a script nor a network."""

import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from platform_kit.components.fields import Axis, Chart

if TYPE_CHECKING:
    import pandas

MAX_POINTS = 5000
_WIDTH, _HEIGHT, _STEP = 660, 320, 24
# The page gives these names their colours, light and dark; a picture outside a page has them fixed. c1 to c7 are Okabe
# and Ito's, which people who see fewer colours tell apart; the page's dark ones are the same, lighter.
_FIXED = {
    "ink": "#1d2433",
    "muted": "#5b6475",
    "grid": "#dfe3ea",
    "c1": "#0072b2",
    "c2": "#d55e00",
    "c3": "#009e73",
    "c4": "#cc79a7",
    "c5": "#e69f00",
    "c6": "#56b4e9",
    "c7": "#b8a800",
}
# A mark that says what it shows to a screen reader shall show it to a mouse as well.
_LABELLED = re.compile(r'<(path|line)((?: [\w:-]+="[^"<>]*")*? aria-label="([^"<>]*)"(?: [\w:-]+="[^"<>]*")*)/>')
# In a picture, which nobody reads with a screen reader.
_NOT_SEEN = re.compile(r' (?:aria-[\w-]+|role|class|pointer-events)="[^"<>]*"')


def svg(chart: Chart, frame: "pandas.DataFrame") -> str:
    """The chart as an SVG element, in the colours of the page that holds it."""
    import vl_convert

    drawn = str(vl_convert.vegalite_to_svg(_drawn(chart, frame).to_dict()))
    return _LABELLED.sub(r"<\1\2><title>\3</title></\1>", drawn)


def picture(chart: Chart, frame: "pandas.DataFrame") -> str:
    """The chart in fixed colours on white, as the address of a picture that holds it all: for Markdown, 10 to 40 KB."""
    import vl_convert

    text = _drawn(chart, frame).properties(background="white").to_json()
    for name, colour in _FIXED.items():
        text = text.replace(f'"{_var(name)}"', f'"{colour}"')
    drawn = _NOT_SEEN.sub("", str(vl_convert.vegalite_to_svg(text)))
    return "data:image/svg+xml;base64," + b64encode(drawn.encode()).decode()


def _var(name: str) -> str:
    return f"var(--{name})"


def _drawn(chart: Chart, frame: "pandas.DataFrame") -> Any:
    import altair
    import pandas

    # Names of its own, for Vega reads a dot or a bracket in a column's name as a path.
    rows = pandas.DataFrame({name: frame[axis.column].head(MAX_POINTS) for name, axis in chart.axes.items()})
    kinds = _kinds(chart, rows)
    encoding: dict[str, Any] = {
        "x": altair.X(field="x", **_axis(chart, chart.x, kinds["x"], rows["x"])),
        "y": altair.Y(field="y", **_axis(chart, chart.y, kinds["y"], rows["y"])),
    }
    if chart.colour:
        encoding |= _coloured(chart.colour, kinds, rows)
        encoding |= _side_by_side(chart, kinds, rows)
    drawn = _mark(altair.Chart(rows), chart, len(rows)).encode(**encoding).properties(**_size(chart, kinds))
    return _styled(drawn)


def _kinds(chart: Chart, rows: "pandas.DataFrame") -> dict[str, str]:
    kinds = {name: _kind(rows[name]) for name in rows}
    if chart.kind == "heat-map":
        kinds |= {"x": "ordinal", "y": "ordinal"}
    if chart.kind == "bar" and kinds["x"] == kinds["y"] == "quantitative":
        kinds["x"] = "ordinal"  # what bars stand on
    return kinds


def _axis(chart: Chart, axis: Axis, kind: str, column: "pandas.Series") -> dict[str, Any]:
    import altair

    settings: dict[str, Any] = {"type": kind, "title": _title(axis), "sort": _order(column)}
    if axis is chart.y and kind in ("nominal", "ordinal"):
        # Above its labels, which may be long.
        settings["axis"] = altair.Axis(titleAngle=0, titleAlign="right", titleX=-6, titleY=-10)
    if kind == "quantitative":
        whole = column.dtype.kind in "iu"
        settings["axis"] = altair.Axis(tickMinStep=1, tickCount=10) if whole else altair.Axis(tickCount=8)
        settings["stack"] = None
        if chart.kind == "scatter" or (chart.kind == "line" and axis is chart.x):
            settings["scale"] = altair.Scale(zero=False, nice=chart.kind == "scatter")
    return settings


def _coloured(axis: Axis, kinds: dict[str, str], rows: "pandas.DataFrame") -> dict[str, Any]:
    import altair

    categories = [_var(name) for name in _FIXED if name[1:].isdecimal()]
    nominal = kinds["colour"] == "nominal"
    scale = altair.Scale(range=categories) if nominal else altair.Scale(scheme="viridis")
    return {
        "color": altair.Color(
            field="colour", type=kinds["colour"], title=_title(axis), scale=scale, sort=_order(rows["colour"])
        )
    }


def _side_by_side(chart: Chart, kinds: dict[str, str], rows: "pandas.DataFrame") -> dict[str, Any]:
    """Bars of one category and several colours beside each other: one on another would add up what cannot be added."""
    import altair

    across = "y" if kinds["y"] in ("nominal", "ordinal") else "x"
    if chart.kind != "bar" or kinds["colour"] != "nominal" or not rows[across].duplicated().any():
        return {}
    offset = altair.YOffset if across == "y" else altair.XOffset
    return {f"{across}Offset": offset(field="colour", type="nominal", sort=None)}


def _mark(base: Any, chart: Chart, rows: int) -> Any:
    if chart.kind == "bar":
        return base.mark_bar(cornerRadiusEnd=2)
    if chart.kind == "line":
        return base.mark_line(strokeWidth=2, point=rows <= 100)
    return base.mark_rect() if chart.kind == "heat-map" else base.mark_circle(size=64, opacity=0.85)


def _size(chart: Chart, kinds: dict[str, str]) -> dict[str, Any]:
    by_row = chart.kind == "heat-map" or (chart.kind == "bar" and kinds["y"] == "nominal")
    height: Any = {"step": _STEP} if by_row else _HEIGHT
    return {"width": _WIDTH, "height": height}


def _styled(drawn: Any) -> Any:
    ink, muted, grid = _var("ink"), _var("muted"), _var("grid")
    # A size more than the page shows (page.css), for room: a browser without Arial has a wider font.
    sizes = {"labelFontSize": 13, "titleFontSize": 14, "titleFontWeight": "normal"}
    return (
        drawn.configure(background="transparent", font="Arial, Helvetica, sans-serif", padding=4)
        .configure_view(stroke=None)
        .configure_mark(color=_var("c1"))
        .configure_axis(
            **sizes, labelColor=muted, titleColor=ink, titlePadding=12, labelLimit=240,
            gridColor=grid, domainColor=grid, tickColor=grid,
        )
        .configure_axisDiscrete(grid=False, ticks=False, labelPadding=6)
        .configure_axisX(labelAngle=0, labelOverlap=True)
        .configure_legend(**sizes, labelColor=muted, titleColor=ink, titleLimit=240)
    )  # fmt: skip


def _kind(column: "pandas.Series") -> str:
    if column.dtype.kind in "iuf":
        return "quantitative"
    return "temporal" if column.dtype.kind == "M" else "nominal"


def _order(column: "pandas.Series") -> Any:
    """Figures and times by size, all else as the report's rows come."""
    return "ascending" if column.dtype.kind in "iufM" else None


def _title(axis: Axis) -> str:
    return f"{axis.title} ({axis.unit})" if axis.unit else axis.title
