"""An ordinary HTML draft, and drafts made to fetch, to run, to hang or to exhaust."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

DRAFT = """\
The most important thing is the name; I put it on top.

```html
<!DOCTYPE html>
<html><head><title>Memory</title><style>
body { font-family: Arial, sans-serif; max-width: 800px; margin: 0 auto }
.key { color: #c00000; font-weight: bold }
table { border-collapse: collapse } td, th { border: 1px solid #999; padding: 2px 4px }
.columns { display: flex; gap: 12px } .columns > div { flex: 1 }
@media print { body { display: none } }
</style></head><body>
<h1>Which engineer rebuilt the light on Skarvholm after the fire?</h1>
<p class="key">Henrietta Osei-Lund signed the drawings on 4 June 1883 (Report 7)</p>
<ul><li>Her assistant <b>Tobias Wren</b> surveyed the rock and kept the <em>diary</em>.
<ul><li>Shelf mark <code>W-1883/7</code></li></ul></li>
<li>The first tower, by <i>Matthias Kroll</i>, burned
on <mark>12&nbsp;November 1881</mark>.</li></ul>
<table><tr><th>Name</th><th>Part in the story</th><th>Source</th></tr>
<tr><td>Henrietta Osei-Lund</td><td>Engineer of the second tower</td><td>Report 7</td></tr>
<tr><td colspan="2">Agnes Pettersson, keeper</td><td>Inquest</td></tr></table>
<div class="columns"><div><h3>Doubtful</h3><p style="font-size: 12px">A guide of 1902 names her
husband.</p></div><div><h3>Open</h3><ol><li>Was there an overseer?</li></ol></div></div>
<hr><p style="color: #666">Skarvholm lies nine nautical miles off the coast \u2192 bare rock.</p>
</body></html>
```
"""


def red_picture(folder: Path) -> Path:
    """A file that must not be read: whoever draws it draws red."""
    path = folder / "canary.png"
    Image.new("RGB", (50, 50), (255, 0, 0)).save(path)
    return path


def hostile_drafts(root: str, canary: Path) -> dict[str, str]:
    """Drafts by name. None may fetch from `root`, read `canary` or show red."""
    return {**_fetching(root, canary), **_large(), **_deep(), **_odd()}


def raw_documents(root: str, canary: Path) -> dict[str, str]:
    """Whole documents for an engine whose HTML nobody has cleaned."""
    return {
        name: f"<html><head></head><body><p>seen</p>{html}</body></html>"
        for name, html in _fetching(root, canary).items()
    }


def _fetching(root: str, canary: Path) -> dict[str, str]:
    file = canary.as_uri()
    return {
        "picture": f"<p>t<img src='{root}/a.png' srcset='{root}/b.png 2x'><img src='{file}'>",
        "relative picture": "<p>t<img src='a.png'><img src='//127.0.0.1/a.png'><img src='canary'>",
        "sheet": f"<link rel=stylesheet href='{root}/c.css'><link rel=preload href='{root}/d'><p>t",
        "import": f"<style>@import url({root}/e.css); @import '{root}/f.css';</style><p>t",
        "font": f"<style>@font-face {{font-family: x; src: url({root}/g.ttf)}}"
        " p {font-family: x}</style><p>t",
        "background": f"<style>p {{background: url({file})}}</style>"
        f"<p style='background-image: url({root}/h.png); list-style: url({root}/i.png)'>t",
        "escaped": f"<p style='background: \\75 rl({file})'>t"
        f"<p style='background: u\\rl({file})'>t",
        "variables": f"<style>:root {{--x: url({file})}} p {{background: var(--x)}}</style><p>t",
        "content": f"<style>p::before {{content: url({file})}}</style><p>t",
        "frames": f"<iframe src='{root}/j'></iframe><object data='{file}'></object>"
        f"<embed src='{root}/k'><p>t",
        "frame document": f'<iframe srcdoc="<img src={root}/l>"></iframe><p>t',
        "vector": f"<svg><image href='{file}'/><use href='{root}/m.svg#a'/></svg><p>t",
        "refresh": f"<meta http-equiv=refresh content='0;url={root}/n'><p>t",
        "base": f"<base href='{root}/'><p>t<img src=o.png>",
        "script": f"<script src='{root}/p.js'></script><script>"
        "document.body.style.background = 'red'</script><p>t",
        "handlers": '<p onload="this.style.background=\'red\'">t<img src=x onerror="'
        "document.body.style.background='red'\"><details open ontoggle=\"document.body.style"
        ".background='red'\">t</details>",
        "media": f"<video poster='{root}/q.png' src='{root}/r'></video><audio src='{root}/s'>"
        f"</audio><picture><source srcset='{root}/t'><img src='{root}/u'></picture><p>t",
        "form": f"<form action='{root}/v'><input type=image src='{root}/w.png'></form><p>t",
        "links": f"<a href='javascript:alert(1)' ping='{root}/x'>t</a>"
        f"<link rel=dns-prefetch href='{root}/'><link rel=prefetch href='{root}/y'>",
    }


def _large() -> dict[str, str]:
    return {
        "megabyte": "word " * 200_000,
        "text": "<p>" + "word " * 6_000,
        "word": "<p>" + "x" * 30_000,
        "words in cells": "<table><tr><td>" + "x" * 15_000 + "<td>" + "y" * 15_000,
        "table": "<table>" + ("<tr>" + "<td>c" * 20) * 60,
        "columns": "<table><tr>" + "<td>c" * 800,
        "rows": "<table>" + "<tr><td>c<td>d" * 10_000,
        "lines": "x<br>" * 2_000,
        "rules": "<style>" + "p {color: blue}" * 4_000 + "</style><p>t",
        "selectors": "<style>"
        + "".join("div " * 60 + f"p.x{number} {{color: blue}}" for number in range(100))
        + "</style>"
        + "<div>" * 90
        + "<p>t" * 600,
        "spans": "<table><tr><td colspan=100000>a<tr><td>b<td rowspan=100000>c</table>",
        "type": "<p style='font-size: 100000px'>big",
        "height": "<div style='height: 100000000px; padding: 100000000px; margin: 1e9em'>x",
        "tracks": "<div style='display: grid; grid-template-columns: repeat(100000, 1fr)'>x</div>"
        "<div style='display: grid'><p style='grid-column: 1 / 100000'>x</div>",
    }


def _deep() -> dict[str, str]:
    return {
        "divs": "<div>" * 4_900 + "x",
        "lists": "<ul><li>x" * 1_000,
        "some lists": "<ul><li>x" * 45,
        "tables": "<table><tr><td>x" * 1_000,
        "some tables": "<table><tr><td>x" * 20,
        "flex boxes": "<div style='display: flex'>x" * 95,
        "grids": "<div style='display: grid'>x" * 60,
        "growing type": "<span style='font-size: 4em'>x" * 95,
        "formatting": "".join(f"<font color=#{number:06x}>" for number in range(2_000))
        + "<p>x" * 2_000,
        "foster parents": "".join(
            f"<b class=c{number}><table></b></table>" for number in range(2000)
        ),
        "growing variables": "<style>:root {--a0: x;"
        + "".join(f"--a{n}: var(--a{n - 1}) var(--a{n - 1});" for n in range(1, 60))
        + "} p {color: var(--a59)}</style><p>x",
        "brackets in a sheet": "<style>p {color: " + "(" * 60_000 + "</style><p>x",
        "blocks in a sheet": "<style>" + "{[(" * 20_000 + "</style><p>x",
        "functions in a style": "<p style='color: " + "rgb(" * 16_000 + "'>x",
    }


def _odd() -> dict[str, str]:
    return {
        "entities": "<p>" + "&amp;lt;&nbsp;&#x1F600;" * 1_500,
        "entity bomb": "<!DOCTYPE x [<!ENTITY a 'aa'><!ENTITY b '&a;&a;'>]><p>&b;&#1114112;&#0;",
        "control characters": "<p>a\x00b\x01c\x1b[31m\x7f\x85 x",
        "surrogates": "<p>a\ud800b\udfffc\ufffed\ufdd0",
        "combining signs": "<p>a" + "\u0301" * 2_000,
        "directions": "<p dir=rtl>" + "\u202e\u2066" * 20_000 + "x",
        "style tags": "<style" * 5_000,
        "fences": "```html\n" * 1_500,
        "comments": "<!--" * 16_000,
        "letters of all kinds": "<p>" + "\u6f22\u05d0\u0915\U0001f600 " * 2_000,
    }
