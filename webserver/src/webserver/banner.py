"""The line that says on each page that this is not production, in the page itself, so that no plug-in can miss it.

Static HTML and CSS: Dagster's policy for its page allows styles, and scripts only by nonce. The page gives up a strip
for it at the top instead of being covered; Dagster's own layout fills what is left. Its styles come later and reset
those of the body, so the strip is taken inside.
"""

from html import escape

HEIGHT = "28px"
# Dark on amber: 10:1, more than the 7:1 that WCAG asks for at the strictest.
_STYLE = f"""<style>
#__next {{ box-sizing: border-box; height: 100vh; padding-top: {HEIGHT} !important; }}
#root {{ height: calc(100vh - {HEIGHT}) !important; min-height: 0 !important; }}
#deployment-banner {{ position: fixed; top: 0; left: 0; right: 0; height: {HEIGHT}; z-index: 10000; padding: 0 12px;
  overflow: hidden; white-space: nowrap; text-overflow: ellipsis; text-align: center;
  background: #ffc53d; color: #2b1d00; font: 600 13px/{HEIGHT} sans-serif; }}
</style>"""


def add(page: str, text: str) -> str:
    """The page with the line at the top of its body; as it is where there is nothing to say."""
    if not text:
        return page
    # A landmark with a name: a screen reader finds it, and tells it before the page.
    banner = f'<aside id="deployment-banner" aria-label="Deployment" title="{escape(text)}">{escape(text)}</aside>'
    with_style = page.replace("</head>", f"{_STYLE}</head>", 1)
    marked = with_style.replace("<body>", f"<body>{banner}", 1)
    if marked.count(banner) != 1 or with_style == page:
        raise RuntimeError("Dagster's page has no <head> and <body> to put the deployment's banner in")
    return marked
