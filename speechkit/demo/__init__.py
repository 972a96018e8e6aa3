"""The browser demo: six tabs over the public API.

`limits` checks what comes from a browser, `jobs` turns checked inputs into results, `state` runs
them one at a time, `plots` draws them, the `page` modules lay them out, and `serve` runs the whole.
Every component has an `elem_id`, for scripts: `#prompt input[type=file]`, `#text textarea`, `#go`.
Only `page` modules, `widgets`, `state` and `serve` import Gradio, and only when they run.
"""
